//! One HTML file that stands alone: no script, no request, legible on a phone and on paper.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// How a table cell is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// Something failed here: bold on a tinted ground.
    Bad,
}

/// A cell of a table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// A smaller second line; may be empty.
    pub detail: String,
    /// How it is shown.
    pub tone: Tone,
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell { text, ..Cell::default() }
    }
}

/// A table with one row of headings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// What it shows, with the unit.
    pub caption: String,
    /// Headings of the columns.
    pub head: Vec<String>,
    /// Rows of as many cells; the first cell is the heading of its row.
    pub rows: Vec<Vec<Cell>>,
}

/// One or more SVG drawings with a common caption.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Figure {
    /// SVG documents.
    pub drawings: Vec<String>,
    /// What the reader sees and how it was made.
    pub caption: String,
}

/// What stands on the page, from top to bottom.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Heading.
    pub title: String,
    /// The question, in a sentence or two.
    pub question: String,
    /// The answer, a sentence each.
    pub verdict: Vec<String>,
    /// The numbers behind it.
    pub tables: Vec<Table>,
    /// The pictures.
    pub figures: Vec<Figure>,
    /// How terms are to be read: term and definition.
    pub definitions: Vec<(String, String)>,
    /// What was asked for: name and value.
    pub settings: Vec<(String, String)>,
    /// What it was computed with: name and value.
    pub provenance: Vec<(String, String)>,
}

const STYLE: &str = "
:root{color-scheme:light}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.5rem 1rem 3rem;max-width:68rem;background:#fff;color:#1a1a1a;
 font:1rem/1.55 system-ui,-apple-system,'Segoe UI',Roboto,'Liberation Sans',sans-serif}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .4rem}
h2{font-size:1.2rem;margin:2.4rem 0 .7rem;padding-top:.6rem;border-top:1px solid #ccc}
p,li,figcaption,dd{max-width:46rem}
.question{color:#444;margin:0 0 1.2rem}
.verdict{border-left:4px solid #0072b2;padding:.7rem 1rem;background:#f3f8fc}
.verdict p{margin:.3rem 0;font-size:1.08rem}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:0 0 1.4rem}
p.caption{color:#444;margin:.4rem 0 .3rem}
th,td{padding:.28rem .8rem;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap;vertical-align:top}
thead th{border-bottom:2px solid #555}
th:first-child{text-align:left}
td small{display:block;color:#555;font-size:.8rem;white-space:normal}
td.bad{background:#fdeee3;font-weight:600}
figure{margin:0 0 2rem}
.drawings{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1rem}
.drawings.one{grid-template-columns:minmax(0,44rem)}
svg{width:100%;height:auto;display:block}
figcaption{color:#333;font-size:.95rem;margin-top:.5rem}
dl{display:grid;grid-template-columns:minmax(9rem,max-content) 1fr;gap:.3rem 1.2rem;margin:0}
dt{font-weight:600}
dd{margin:0;overflow-wrap:anywhere}
@media(max-width:34rem){dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.6rem}th,td{padding:.28rem .45rem}
 h1{font-size:1.35rem}}
@media print{body{max-width:none;padding:0;font-size:10pt}.verdict,td.bad{print-color-adjust:exact}
 figure,tr,.verdict{break-inside:avoid}h2{break-after:avoid}.wide{overflow:visible}}
@page{margin:16mm}
";

/// The page as one HTML document.
pub fn render(page: &Page) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (page.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { (page.title) }
                    p.question { (page.question) }
                    section.verdict aria-label="Result" {
                        @for sentence in &page.verdict { p { (unbroken(sentence)) } }
                    }
                    @if !page.tables.is_empty() { h2 { "Numbers" } }
                    @for table in &page.tables { (render_table(table)) }
                    @if !page.figures.is_empty() { h2 { "Pictures" } }
                    @for figure in &page.figures {
                        figure {
                            div.drawings.one[figure.drawings.len() == 1] {
                                @for drawing in &figure.drawings { (PreEscaped(drawing)) }
                            }
                            figcaption { (figure.caption) }
                        }
                    }
                    (list("How to read it", &page.definitions))
                    (list("Settings", &page.settings))
                    (list("Provenance", &page.provenance))
                }
            }
        }
    };
    markup.into_string()
}

/// Keeps a percent sign beside its number.
fn unbroken(text: &str) -> String {
    text.replace(" %", "\u{a0}%")
}

fn render_table(table: &Table) -> Markup {
    html! {
        p.caption { (table.caption) }
        div.wide {
            table aria-label=(table.caption) {
                thead { tr { @for name in &table.head { th scope="col" { (name) } } } }
                tbody {
                    @for row in &table.rows {
                        tr {
                            @for (i, cell) in row.iter().enumerate() {
                                @if i == 0 { th scope="row" { (cell.text) } }
                                @else {
                                    td.bad[cell.tone == Tone::Bad] {
                                        (cell.text)
                                        @if !cell.detail.is_empty() { small { (cell.detail) } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn list(title: &str, entries: &[(String, String)]) -> Markup {
    html! {
        @if !entries.is_empty() {
            h2 { (title) }
            dl { @for (term, text) in entries { dt { (term) } dd { (text) } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_drawings_are_not() {
        let page = Page {
            title: "a < b".into(),
            verdict: vec!["x & y".into()],
            figures: vec![Figure { drawings: vec!["<svg></svg>".into()], caption: "<c>".into() }],
            settings: vec![("command".into(), "run --out \"<x>\"".into())],
            ..Page::default()
        };
        let html = render(&page);
        assert!(html.starts_with("<!DOCTYPE html>"));
        for part in ["a &lt; b", "x &amp; y", "<svg></svg>", "&lt;c&gt;", "&lt;x&gt;"] {
            assert!(html.contains(part), "{part}");
        }
        assert!(!html.contains("<script") && !html.contains("Numbers"));
    }
}
