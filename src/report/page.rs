//! One HTML file that stands alone: no request, legible on a phone and on paper, with tables that a click sorts.

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
thead th{border-bottom:2px solid #555;white-space:normal;vertical-align:bottom}
th:first-child{text-align:left}
th button{font:inherit;font-weight:600;color:inherit;background:none;border:0;padding:0;text-align:inherit;cursor:pointer}
th[aria-sort=ascending] button::after{content:' \\25B2'}
th[aria-sort=descending] button::after{content:' \\25BC'}
nav ul{padding-left:1.2rem}
article+article{margin-top:3rem;padding-top:1rem;border-top:3px solid #555}
td small{display:block;color:#555;font-size:.8rem;white-space:normal}
td.text{white-space:normal;text-align:left;min-width:17rem;font-size:.88rem}
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

/// Sorts a table by the column whose heading is clicked, upwards, then downwards; works from the file alone.
const SCRIPT: &str = "
const raised='⁰¹²³⁴⁵⁶⁷⁸⁹';
const plain=text=>text.replace(/10(⁻?)([⁰¹²³⁴⁵⁶⁷⁸⁹]+)/,(_,minus,figures)=>
 '1e'+(minus?'-':'')+[...figures].map(f=>raised.indexOf(f)).join('')).replace('−','-');
const key=cell=>{const text=(cell.firstChild?.textContent??'').trim(),number=parseFloat(plain(text));
 return {text,number}};
for(const button of document.querySelectorAll('thead button'))button.onclick=()=>{
 const th=button.parentElement,table=th.closest('table'),body=table.tBodies[0],column=th.cellIndex;
 const sign=th.getAttribute('aria-sort')==='ascending'?-1:1;
 for(const other of table.querySelectorAll('thead th'))other.removeAttribute('aria-sort');
 th.setAttribute('aria-sort',sign>0?'ascending':'descending');
 const rows=[...body.rows].map(row=>({row,...key(row.cells[column])}));
 const last=row=>row.text===''||row.text==='-';
 rows.sort((a,b)=>last(a)||last(b)?last(a)-last(b):sign*(isNaN(a.number)||isNaN(b.number)?
  a.text.localeCompare(b.text,'en',{numeric:true}):a.number-b.number));
 for(const {row} of rows)body.append(row)};
";

/// The page as one HTML document.
pub fn render(page: &Page) -> String {
    document(&page.title, std::slice::from_ref(page), html! { (article(page, 0)) })
}

/// Several pages as one HTML document, with a list of them at its head.
pub fn render_all(title: &str, pages: &[Page]) -> String {
    let body = html! {
        h1 { (title) }
        nav aria-label="Contents" {
            ul { @for (i, page) in pages.iter().enumerate() { li { a href=(format!("#part-{i}")) { (page.title) } } } }
        }
        @for (i, page) in pages.iter().enumerate() {
            article id=(format!("part-{i}")) { (article(page, 1)) }
        }
    };
    document(title, pages, body)
}

fn document(title: &str, pages: &[Page], body: Markup) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main { (body) }
                @if pages.iter().any(|page| !page.tables.is_empty()) { script { (PreEscaped(SCRIPT)) } }
            }
        }
    };
    markup.into_string()
}

/// A page's contents, its title as a heading below `depth` others.
fn article(page: &Page, depth: usize) -> Markup {
    html! {
        (heading(depth, &page.title))
        p.question { (page.question) }
        @if !page.verdict.is_empty() {
            section.verdict aria-label="Result" {
                @for sentence in &page.verdict { p { (unbroken(sentence)) } }
            }
        }
        @if !page.tables.is_empty() { (heading(depth + 1, "Numbers")) }
        @for table in &page.tables { (render_table(table)) }
        @if !page.figures.is_empty() { (heading(depth + 1, "Pictures")) }
        @for figure in &page.figures {
            figure {
                div.drawings.one[figure.drawings.len() == 1] {
                    @for drawing in &figure.drawings { (PreEscaped(drawing)) }
                }
                figcaption { (figure.caption) }
            }
        }
        (list(depth + 1, "How to read it", &page.definitions))
        (list(depth + 1, "Settings", &page.settings))
        (list(depth + 1, "Provenance", &page.provenance))
    }
}

fn heading(depth: usize, text: &str) -> Markup {
    match depth {
        0 => html! { h1 { (text) } },
        1 => html! { h2 { (text) } },
        _ => html! { h3 { (text) } },
    }
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
                thead { tr { @for name in &table.head { th scope="col" { @if !name.is_empty() { button type="button" { (name) } } } } } }
                tbody {
                    @for row in &table.rows {
                        tr {
                            @for (i, cell) in row.iter().enumerate() {
                                @if i == 0 { th scope="row" { (cell.text) } }
                                @else {
                                    td.bad[cell.tone == Tone::Bad].text[cell.text.len() > 40] {
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

fn list(depth: usize, title: &str, entries: &[(String, String)]) -> Markup {
    html! {
        @if !entries.is_empty() {
            (heading(depth, title))
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

    #[test]
    fn several_pages_are_listed_and_their_tables_sort() {
        let table = Table {
            caption: "t".into(),
            head: vec!["beta".into()],
            rows: vec![vec![Cell::from("10³".to_string())]],
        };
        let page = |title: &str| Page { title: title.into(), tables: vec![table.clone()], ..Page::default() };
        let html = render_all("all", &[page("first"), page("second")]);
        for part in [
            "<h1>all</h1>",
            "<a href=\"#part-1\">second</a>",
            "id=\"part-1\"",
            "<h2>second</h2>",
            "<h3>Numbers",
        ] {
            assert!(html.contains(part), "{part}");
        }
        assert_eq!((html.matches("<script>").count(), html.matches("<button").count()), (1, 2));
        assert!(!html.contains("http"), "no request");
    }
}
