//! Charts of lines and bars as SVG text, drawn to be read by anyone: Okabe-Ito colours, a marker shape per line.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::{Error, Result};

/// An SVG in memory.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Okabe and Ito's palette without its yellow, which is too light for a line on white.
pub(super) const PALETTE: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x00, 0x00, 0x00),
];

const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const GREY: RGBColor = RGBColor(0x70, 0x70, 0x70);
const GRID: RGBColor = RGBColor(0xe2, 0xe2, 0xe2);
/// Sizes are those of a print; on a phone the drawing shrinks to a third.
const TEXT: i32 = 38;
const SIZE: (u32, u32) = (960, 760);
const LEFT: i32 = 140;

/// One measured position of a line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Position on the x axis.
    pub x: f64,
    /// Height of the marker; not finite where nothing could be measured: drawn as a cross at the upper edge.
    pub y: f64,
    /// Lower end of the whisker.
    pub low: f64,
    /// Upper end of the whisker.
    pub high: f64,
    /// Marked with a cross.
    pub failed: bool,
}

/// A line of points.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its entry in the legend.
    pub name: String,
    /// Points from left to right.
    pub points: Vec<Point>,
}

/// How the points of a series are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mark {
    /// Markers, joined by lines.
    #[default]
    Lines,
    /// Bars from the lower end of the y axis, those of different series side by side.
    Bars,
    /// Areas on top of each other, the first series lowest; all have the same places. Points have no whiskers.
    Areas,
}

/// A chart of lines or bars over common axes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chart {
    /// How all series are drawn.
    pub mark: Mark,
    /// Heading.
    pub title: String,
    /// What the x axis shows, with its unit.
    pub x_label: String,
    /// What the y axis shows, with its unit.
    pub y_label: String,
    /// Marks of the x axis: place and text.
    pub x_ticks: Vec<(f64, String)>,
    /// Lower and upper end of the y axis.
    pub y_range: (f64, f64),
    /// A dotted horizontal line and its text.
    pub reference: Option<(f64, String)>,
    /// What a cross means, for the legend.
    pub failure: String,
    /// The lines.
    pub series: Vec<Series>,
}

pub(super) fn drawing_error(e: impl std::fmt::Display) -> Error {
    Error::Unsupported(format!("plot: {e}"))
}

/// Adds what a screen reader needs, and lets style sheets scale the drawing.
pub(super) fn accessible(svg: String, title: &str) -> String {
    let title = title.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{title}\" "), 1)
}

pub(super) fn text(size: i32, color: RGBColor, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    let style = TextStyle::from(("sans-serif", size)).pos(Pos::new(horizontal, vertical));
    TextStyle { color: color.to_backend_color(), ..style }
}

/// Width that `label` takes at font size `size`, guessed generously: an SVG's font is the reader's.
fn width_of(label: &str, size: i32) -> i32 {
    label.chars().count() as i32 * size * 11 / 25
}

/// Round marks within a range, about `count` of them.
fn ticks(low: f64, high: f64, count: f64) -> Vec<f64> {
    let rough = (high - low) / count;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|&s| s >= rough).unwrap_or(rough);
    let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
    (first..=last).map(|i| i as f64 * step).collect()
}

/// The chart as an SVG document, 960 wide and 760 high.
///
/// Errors: [`Error::InvalidArgument`] for a chart without x ticks or with an empty y range.
pub fn chart(chart: &Chart) -> Result<String> {
    let (low, high) = chart.y_range;
    if chart.x_ticks.is_empty() || !(low.is_finite() && high.is_finite() && low < high) {
        let got = format!("{} ticks, y from {low} to {high}", chart.x_ticks.len());
        return Err(Error::invalid("chart", "x ticks and a range of y", got));
    }
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        draw(&root, chart).map_err(drawing_error)?;
        root.present().map_err(drawing_error)?;
    }
    Ok(accessible(svg, &format!("{}: {} against {}", chart.title, chart.y_label, chart.x_label)))
}

pub(super) type Drawn<T = ()> = std::result::Result<T, DrawingAreaErrorKind<std::io::Error>>;

/// Where the axes lie, in pixels and in values.
struct Frame {
    pixels: [std::ops::Range<i32>; 2],
    x: std::ops::Range<f64>,
    y: std::ops::Range<f64>,
}

impl Frame {
    /// Pixel of a position; what does not fit the y axis lies on its nearer end, NaN on the upper.
    fn at(&self, x: f64, y: f64) -> (i32, i32) {
        let y = if y.is_nan() { self.y.end } else { y.clamp(self.y.start, self.y.end) };
        let share = |v: f64, range: &std::ops::Range<f64>| (v - range.start) / (range.end - range.start);
        let place = |share: f64, p: &std::ops::Range<i32>| {
            p.start + (share * f64::from(p.end - p.start)).round() as i32
        };
        (place(share(x, &self.x), &self.pixels[0]), place(1.0 - share(y, &self.y), &self.pixels[1]))
    }
}

fn draw(root: &Area, chart: &Chart) -> Drawn {
    root.fill(&WHITE)?;
    root.draw(&Text::new(chart.title.clone(), (LEFT, 14), text(44, INK, HPos::Left, VPos::Top)))?;
    let top = legend(root, chart, 88)?;
    let places: Vec<f64> = chart.x_ticks.iter().map(|t| t.0).collect();
    let gap = places.windows(2).map(|w| w[1] - w[0]).fold(f64::INFINITY, f64::min);
    let gap = if gap.is_finite() { gap } else { 1.0 };
    let frame = Frame {
        pixels: [LEFT..SIZE.0 as i32 - 20, top..SIZE.1 as i32 - 116],
        x: places[0] - gap / 2.0..places[places.len() - 1] + gap / 2.0,
        y: chart.y_range.0..chart.y_range.1,
    };
    axes(root, chart, &frame)?;

    if let Some((y, label)) = &chart.reference {
        let (_, y) = frame.at(0.0, *y);
        for x in frame.pixels[0].clone().step_by(14) {
            root.draw(&PathElement::new([(x, y), (x + 6, y)], GREY.stroke_width(3)))?;
        }
        let style = text(TEXT - 6, GREY, HPos::Left, VPos::Bottom);
        root.draw(&Text::new(label.clone(), (frame.pixels[0].start + 8, y - 4), style))?;
    }
    // Equal points of different lines stand side by side instead of on top of each other.
    let count = chart.series.len() as f64;
    let apart = match chart.mark {
        Mark::Lines => (0.14f64).min(0.4 / count),
        Mark::Bars => BARS / count,
        Mark::Areas => 0.0,
    };
    if chart.mark == Mark::Areas {
        return areas(root, &frame, &chart.series);
    }
    let dodge = |i: usize| (i as f64 - (count - 1.0) / 2.0) * apart * gap;
    for (i, series) in chart.series.iter().enumerate() {
        match chart.mark {
            Mark::Lines => line(root, &frame, series, i, dodge(i))?,
            Mark::Bars => bars(root, &frame, series, i, [dodge(i), apart * gap])?,
            Mark::Areas => unreachable!("drawn above"),
        }
    }
    Ok(())
}

/// Share of the distance between two places of the x axis that their bars take.
const BARS: f64 = 0.84;

fn bars(root: &Area, frame: &Frame, series: &Series, index: usize, [dodge, width]: [f64; 2]) -> Drawn {
    let color = PALETTE[index % PALETTE.len()];
    for point in &series.points {
        let [left, right] = [-0.5, 0.5].map(|side| point.x + dodge + side * width);
        let corners = [frame.at(left, point.y), frame.at(right, frame.y.start)];
        root.draw(&Rectangle::new(corners, color.filled()))?;
        // Bars of one colour that touch.
        root.draw(&Rectangle::new(corners, WHITE.stroke_width(1)))?;
        whisker(root, point, |y| frame.at(point.x + dodge, y), INK)?;
        if point.failed {
            cross(root, frame.at(point.x + dodge, point.y), INK)?;
        }
    }
    Ok(())
}

fn areas(root: &Area, frame: &Frame, all: &[Series]) -> Drawn {
    let places: Vec<f64> = all.iter().flat_map(|s| &s.points).map(|p| p.x).collect();
    let [first, last] = [f64::min, f64::max].map(|f| places.iter().copied().fold(f64::NAN, f));
    // A single place is a bar.
    let widen = |x: f64, side: f64| if first == last { x + side * 0.3 } else { x };
    let mut below: Vec<f64> = vec![frame.y.start; all.first().map_or(0, |s| s.points.len())];
    for (i, series) in all.iter().enumerate() {
        let above: Vec<f64> = series.points.iter().zip(&below).map(|(p, b)| p.y + b).collect();
        let edge = |heights: &[f64]| -> Vec<(i32, i32)> {
            let ends = series.points.iter().zip(heights).map(|(p, &y)| (p.x, y));
            ends.flat_map(|(x, y)| [frame.at(widen(x, -1.0), y), frame.at(widen(x, 1.0), y)]).collect()
        };
        let mut outline = edge(&above);
        let mut lower = edge(&below);
        if first == last {
            lower.swap(0, 1);
        } else {
            lower.reverse();
        }
        outline.extend(lower);
        root.draw(&Polygon::new(outline.clone(), PALETTE[i % PALETTE.len()].mix(0.85).filled()))?;
        root.draw(&PathElement::new(edge(&above), INK.stroke_width(1)))?;
        below = above;
    }
    Ok(())
}

fn whisker(root: &Area, point: &Point, at: impl Fn(f64) -> (i32, i32), color: RGBColor) -> Drawn {
    if point.low < point.high {
        let ends = [at(point.low), at(point.high)];
        root.draw(&PathElement::new(ends, color.stroke_width(2)))?;
        for (x, y) in ends {
            root.draw(&PathElement::new([(x - 7, y), (x + 7, y)], color.stroke_width(2)))?;
        }
    }
    Ok(())
}

fn axes(root: &Area, chart: &Chart, frame: &Frame) -> Drawn {
    let [across, down] = frame.pixels.clone();
    let marks = ticks(frame.y.start, frame.y.end, 5.0);
    let step = marks.get(1).map_or(1.0, |second| second - marks[0]);
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    for mark in marks {
        let (_, y) = frame.at(frame.x.start, mark);
        root.draw(&PathElement::new([(across.start, y), (across.end, y)], GRID.stroke_width(2)))?;
        let style = text(TEXT - 4, INK, HPos::Right, VPos::Center);
        root.draw(&Text::new(format!("{mark:.decimals$}"), (across.start - 14, y), style))?;
    }
    for (x, label) in &chart.x_ticks {
        let (x, _) = frame.at(*x, frame.y.start);
        root.draw(&PathElement::new([(x, down.end), (x, down.end + 8)], INK.stroke_width(2)))?;
        let style = text(TEXT - 4, INK, HPos::Center, VPos::Top);
        root.draw(&Text::new(label.clone(), (x, down.end + 14), style))?;
    }
    let corners = [(across.start, down.start), (across.start, down.end), (across.end, down.end)];
    root.draw(&PathElement::new(corners, INK.stroke_width(2)))?;
    let style = text(TEXT, INK, HPos::Center, VPos::Bottom);
    let middle = (across.start + across.end) / 2;
    root.draw(&Text::new(chart.x_label.clone(), (middle, SIZE.1 as i32 - 12), style))?;
    let turned = text(TEXT, INK, HPos::Center, VPos::Top).transform(FontTransform::Rotate270);
    root.draw(&Text::new(chart.y_label.clone(), (8, (down.start + down.end) / 2), turned))
}

fn line(root: &Area, frame: &Frame, series: &Series, index: usize, dodge: f64) -> Drawn {
    let color = PALETTE[index % PALETTE.len()];
    let at = |point: &Point, y: f64| frame.at(point.x + dodge, y);
    for pair in series.points.windows(2).filter(|pair| pair.iter().all(|p| p.y.is_finite())) {
        let ends = [at(&pair[0], pair[0].y), at(&pair[1], pair[1].y)];
        root.draw(&PathElement::new(ends, color.stroke_width(4)))?;
    }
    for point in &series.points {
        whisker(root, point, |y| at(point, y), color)?;
        let place = at(point, point.y);
        if point.failed { cross(root, place, color)? } else { root.draw(&marker(index, place, color))? }
    }
    Ok(())
}

fn cross(root: &Area, (x, y): (i32, i32), color: RGBColor) -> Drawn {
    for s in [9, -9] {
        root.draw(&PathElement::new([(x - 9, y - s), (x + 9, y + s)], color.stroke_width(5)))?;
    }
    Ok(())
}

/// Circle, square, triangle, diamond, and so on: lines stay apart without colour.
fn marker(index: usize, (x, y): (i32, i32), color: RGBColor) -> Polygon<(i32, i32)> {
    let outline: Vec<(i32, i32)> = match index % 7 {
        0 => {
            let angle = |i: i32| f64::from(i) * std::f64::consts::TAU / 24.0;
            (0..24).map(|i| ((angle(i).cos() * 10.0) as i32, (angle(i).sin() * 10.0) as i32)).collect()
        }
        1 => vec![(-9, -9), (9, -9), (9, 9), (-9, 9)],
        2 => vec![(0, -12), (11, 8), (-11, 8)],
        3 => vec![(0, -13), (11, 0), (0, 13), (-11, 0)],
        4 => vec![(0, 12), (11, -8), (-11, -8)],
        5 => vec![(-13, -5), (13, -5), (13, 5), (-13, 5)],
        _ => vec![(-5, -13), (5, -13), (5, 13), (-5, 13)],
    };
    Polygon::new(outline.into_iter().map(|(dx, dy)| (x + dx, y + dy)).collect::<Vec<_>>(), color.filled())
}

/// Entries in rows from `y` on; returns where the rest may begin.
fn legend(root: &Area, chart: &Chart, mut y: i32) -> Drawn<i32> {
    let mut x = LEFT;
    let mut place = |label: &str| {
        let width = 60 + width_of(label, TEXT - 4) + 22;
        if x > LEFT && x + width > SIZE.0 as i32 {
            (x, y) = (LEFT, y + 46);
        }
        x += width;
        (x - width, y)
    };
    let style = text(TEXT - 4, INK, HPos::Left, VPos::Center);
    for (i, series) in chart.series.iter().enumerate() {
        let (x, y) = place(&series.name);
        let color = PALETTE[i % PALETTE.len()];
        match chart.mark {
            Mark::Lines => {
                root.draw(&PathElement::new([(x, y), (x + 48, y)], color.stroke_width(4)))?;
                root.draw(&marker(i, (x + 24, y), color))?;
            }
            Mark::Bars | Mark::Areas => {
                root.draw(&Rectangle::new([(x + 12, y - 12), (x + 44, y + 12)], color.filled()))?
            }
        }
        root.draw(&Text::new(series.name.clone(), (x + 60, y), style.clone()))?;
    }
    if chart.series.iter().any(|s| s.points.iter().any(|p| p.failed)) {
        let (x, y) = place(&chart.failure);
        cross(root, (x + 24, y), INK)?;
        root.draw(&Text::new(chart.failure.clone(), (x + 60, y), style))?;
    }
    Ok(y + 42)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Chart {
        let point = |x: f64, y: f64| Point { x, y, low: y - 2.0, high: y + 2.0, failed: y < 20.0 };
        let series = |name: &str, y: [f64; 3]| Series {
            name: name.into(),
            points: y.iter().enumerate().map(|(x, &y)| point(x as f64, y)).collect(),
        };
        Chart {
            mark: Mark::Lines,
            title: "a & b".into(),
            x_label: "beta".into(),
            y_label: "accuracy, %".into(),
            x_ticks: (0..3).map(|i| (i as f64, format!("tick {i}"))).collect(),
            y_range: (0.0, 100.0),
            reference: Some((10.0, "chance".into())),
            failure: "diverged".into(),
            series: vec![series("one", [90.0, 95.0, 10.0]), series("two", [90.0, 95.0, f64::NAN])],
        }
    }

    #[test]
    fn a_chart_names_axes_lines_and_ticks() {
        let svg = chart(&example()).unwrap();
        for part in ["beta", "accuracy, %", "tick 2", "one", "two", "chance", "diverged", "a &amp; b"] {
            assert!(svg.contains(part), "{part}");
        }
        assert!(!svg.contains("NaN"));
        assert!(svg.ends_with("</svg>\n"));
    }

    #[test]
    fn bars_stand_side_by_side() {
        let svg = chart(&Chart { mark: Mark::Bars, ..example() }).unwrap();
        let bars = |color: &str| svg.lines().filter(|l| l.starts_with("<rect") && l.contains(color)).count();
        // Three and the entry of the legend.
        assert_eq!([bars("#0072B2"), bars("#D55E00")], [4, 4], "{svg}");
    }

    #[test]
    fn areas_lie_on_each_other() {
        let mut example = Chart { mark: Mark::Areas, reference: None, y_range: (0.0, 200.0), ..example() };
        let svg = chart(&example).unwrap();
        let area = |svg: &str, color: &str| {
            svg.lines().filter(|l| l.starts_with("<polygon") && l.contains(color)).count()
        };
        assert_eq!([area(&svg, "#0072B2"), area(&svg, "#D55E00")], [1, 1], "{svg}");
        example.series.iter_mut().for_each(|s| s.points.truncate(1));
        let svg = chart(&example).unwrap();
        assert_eq!(area(&svg, "#0072B2"), 1);
    }

    #[test]
    fn an_empty_chart_is_refused() {
        assert!(chart(&Chart { x_ticks: vec![], ..example() }).is_err());
        assert!(chart(&Chart { y_range: (1.0, 1.0), ..example() }).is_err());
        assert!(chart(&Chart { series: vec![], ..example() }).is_ok());
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(ticks(0.0, 100.0, 5.0), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(ticks(0.0, 2.4, 5.0), [0.0, 0.5, 1.0, 1.5, 2.0]);
    }
}
