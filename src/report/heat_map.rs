//! A matrix as coloured cells, with a scale beside it.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use crate::error::{Error, Result};
use crate::report::plot::{Area, Drawn, accessible, drawing_error, text};

/// Values over two axes.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatMap {
    /// Heading.
    pub title: String,
    /// What the columns are, with the unit; may be empty.
    pub x_label: String,
    /// What the rows are, with the unit; may be empty.
    pub y_label: String,
    /// What the colours mean, with the unit.
    pub value_label: String,
    /// Labels of columns: place from 0 on, and text.
    pub x_ticks: Vec<(usize, String)>,
    /// Labels of rows.
    pub y_ticks: Vec<(usize, String)>,
    /// Number of columns.
    pub columns: usize,
    /// Row-major, the first row at the top; NaN stays white.
    pub values: Vec<f64>,
    /// Values at the two ends of the scale; what lies beyond has the colour of the end.
    pub range: (f64, f64),
    /// What is written in each cell; empty for nothing.
    pub texts: Vec<String>,
}

const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);

/// From light to dark in equal steps of lightness, so that it survives print and colour blindness (after cividis).
const STOPS: [[f64; 3]; 5] = [
    [253.0, 246.0, 196.0],
    [221.0, 203.0, 92.0],
    [146.0, 143.0, 120.0],
    [70.0, 92.0, 124.0],
    [0.0, 32.0, 76.0],
];

/// Colour at a place of the scale, 0 to 1.
fn color(share: f64) -> RGBColor {
    let place = share.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let below = (place as usize).min(STOPS.len() - 2);
    let mix = |c: usize| {
        let (a, b) = (STOPS[below][c], STOPS[below + 1][c]);
        (a + (place - below as f64) * (b - a)).round() as u8
    };
    RGBColor(mix(0), mix(1), mix(2))
}

/// The map as an SVG document.
///
/// Errors: [`Error::Shape`] where the values fill no whole rows, or there is not a text for each or none.
pub fn heat_map(map: &HeatMap) -> Result<String> {
    let count = map.values.len();
    if map.columns == 0 || count == 0 || !count.is_multiple_of(map.columns) {
        return Err(Error::shape("values", format!("rows of {}", map.columns), &[count]));
    }
    if !map.texts.is_empty() && map.texts.len() != count {
        return Err(Error::shape("texts", format!("{count} or none"), &[map.texts.len()]));
    }
    let rows = count / map.columns;
    let cell = (720 / map.columns.max(rows)).clamp(4, 96) as i32;
    let longest = map.y_ticks.iter().map(|(_, label)| label.chars().count()).max().unwrap_or(0) as i32;
    let left = 70 + longest * 15;
    let across = map.x_ticks.iter().map(|(_, label)| label.chars().count()).max().unwrap_or(0) as i32;
    // Labels wider than a cell are turned, where each cell has one.
    let turned = if map.x_ticks.len() == map.columns && across * 16 > cell { across * 16 } else { 0 };
    let frame = Frame { left, top: 90, cell, rows: rows as i32, columns: map.columns as i32, turned };
    let size = (
        (left + frame.width() + 210).max(900) as u32,
        (frame.top + frame.height() + turned.max(50) + 80) as u32,
    );
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&root, map, &frame).map_err(drawing_error)?;
        root.present().map_err(drawing_error)?;
    }
    Ok(accessible(svg, &format!("{}: {}", map.title, map.value_label)))
}

struct Frame {
    left: i32,
    top: i32,
    cell: i32,
    rows: i32,
    columns: i32,
    /// Height of turned labels below the columns; 0 where they are level.
    turned: i32,
}

impl Frame {
    fn width(&self) -> i32 {
        self.cell * self.columns
    }

    fn height(&self) -> i32 {
        self.cell * self.rows
    }
}

fn draw(root: &Area, map: &HeatMap, frame: &Frame) -> Drawn {
    root.fill(&WHITE)?;
    root.draw(&Text::new(map.title.clone(), (30, 14), text(40, INK, HPos::Left, VPos::Top)))?;
    let (low, high) = map.range;
    let share = |v: f64| if high > low { (v - low) / (high - low) } else { 0.0 };
    let corner = |i: usize| {
        let (row, column) = ((i / map.columns) as i32, (i % map.columns) as i32);
        (frame.left + column * frame.cell, frame.top + row * frame.cell)
    };
    for (i, &value) in map.values.iter().enumerate().filter(|(_, v)| !v.is_nan()) {
        let (x, y) = corner(i);
        let fill = color(share(value)).filled();
        root.draw(&Rectangle::new([(x, y), (x + frame.cell, y + frame.cell)], fill))?;
    }
    for (i, label) in map.texts.iter().enumerate() {
        let (x, y) = corner(i);
        let ink = if share(map.values[i]) > 0.5 { WHITE } else { BLACK };
        let style = text(24, ink, HPos::Center, VPos::Center);
        root.draw(&Text::new(label.clone(), (x + frame.cell / 2, y + frame.cell / 2), style))?;
    }
    let (right, bottom) = (frame.left + frame.width(), frame.top + frame.height());
    root.draw(&Rectangle::new([(frame.left, frame.top), (right, bottom)], INK.stroke_width(1)))?;
    let middle = |i: usize| i as i32 * frame.cell + frame.cell / 2;
    for (i, label) in &map.x_ticks {
        let at = (frame.left + middle(*i), bottom + 10);
        let style = match frame.turned {
            0 => text(28, INK, HPos::Center, VPos::Top),
            _ => text(28, INK, HPos::Right, VPos::Center).transform(FontTransform::Rotate270),
        };
        root.draw(&Text::new(label.clone(), at, style))?;
    }
    for (i, label) in &map.y_ticks {
        let style = text(28, INK, HPos::Right, VPos::Center);
        root.draw(&Text::new(label.clone(), (frame.left - 10, frame.top + middle(*i)), style))?;
    }
    let style = text(34, INK, HPos::Center, VPos::Top);
    root.draw(&Text::new(
        map.x_label.clone(),
        ((frame.left + right) / 2, bottom + frame.turned.max(50)),
        style,
    ))?;
    let style = text(34, INK, HPos::Center, VPos::Top).transform(FontTransform::Rotate270);
    root.draw(&Text::new(map.y_label.clone(), (8, (frame.top + bottom) / 2), style))?;
    scale(root, map, [right + 30, frame.top, bottom])
}

/// The colours with their values.
fn scale(root: &Area, map: &HeatMap, [x, top, bottom]: [i32; 3]) -> Drawn {
    const STEPS: i32 = 64;
    let bottom = bottom.max(top + 200);
    let y = |step: i32| bottom - (bottom - top) * step / STEPS;
    for step in 0..STEPS {
        let fill = color(f64::from(step) / f64::from(STEPS - 1)).filled();
        root.draw(&Rectangle::new([(x, y(step + 1)), (x + 30, y(step))], fill))?;
    }
    let (low, high) = map.range;
    for step in 0..=4 {
        let value = low + (high - low) * f64::from(step) / 4.0;
        let style = text(28, INK, HPos::Left, VPos::Center);
        let digits = if high - low < 8.0 { 1 } else { 0 };
        root.draw(&Text::new(format!("{value:.digits$}"), (x + 38, y(step * STEPS / 4)), style))?;
    }
    let turned = text(30, INK, HPos::Center, VPos::Top).transform(FontTransform::Rotate270);
    root.draw(&Text::new(map.value_label.clone(), (x + 120, (top + bottom) / 2), turned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> HeatMap {
        HeatMap {
            title: "distances".into(),
            x_label: "second".into(),
            y_label: "first".into(),
            value_label: "distance, %".into(),
            x_ticks: vec![(0, "a".into()), (1, "b".into())],
            y_ticks: vec![(0, "a".into())],
            columns: 2,
            values: vec![0.0, 10.0, f64::NAN, 20.0],
            range: (0.0, 10.0),
            texts: vec!["0".into(), "ten".into(), String::new(), "20".into()],
        }
    }

    #[test]
    fn cells_have_the_colours_of_the_scale() {
        let svg = heat_map(&example()).unwrap();
        let [light, dark] = ["#FDF6C4", "#00204C"];
        // The end of the scale and the cells.
        assert_eq!([light, dark].map(|c| svg.matches(c).count()), [2, 3], "{svg}");
        for part in ["distances", "distance, %", "ten", "first", "second"] {
            assert!(svg.contains(part), "{part}");
        }
        assert!(heat_map(&HeatMap { columns: 3, ..example() }).is_err());
        assert!(heat_map(&HeatMap { texts: vec!["".into()], ..example() }).is_err());
        assert!(heat_map(&HeatMap { texts: vec![], ..example() }).is_ok());
    }
}
