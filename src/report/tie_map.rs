//! Which windows of a max pooling tie, drawn over the image that went in.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use crate::error::{Error, Result};
use crate::report::plot::{Area, Drawn, accessible, drawing_error, text};

/// What a window is marked as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// Not at all.
    None,
    /// A tie that no gradient passes.
    Masked,
    /// So many equal elements.
    Equal(u8),
    /// A tie in any arithmetic.
    Structural,
    /// A tie by rounding.
    Accidental,
}

impl Tie {
    /// By the number of elements that attain the maximum, and whether it is above 0.
    pub fn counted(count: u8, positive: bool) -> Tie {
        match (count, positive) {
            (0 | 1, _) => Tie::None,
            (_, false) => Tie::Masked,
            (n, true) => Tie::Equal(n),
        }
    }
}

/// The ties of one image at one pooling layer.
#[derive(Debug, Clone, PartialEq)]
pub struct TieMap {
    /// Heading.
    pub title: String,
    /// Grey image `[H, W]`, row-major.
    pub image: Vec<u8>,
    /// `[H, W]`.
    pub image_shape: [usize; 2],
    /// Of each window `[C, OH, OW]`.
    pub ties: Vec<Tie>,
    /// `[C, OH, OW]`.
    pub shape: [usize; 3],
    /// `[y, x]` of the upper left pixel of window (0, 0): the centre of its first receptive field.
    pub origin: [usize; 2],
    /// Pixels from one window to the next.
    pub stride: usize,
}

const SCALE: i32 = 10;
const GAP: i32 = 30;
const HEAD: i32 = 190;

/// Blue: a tie at 0, which ReLU'(0) = 0 hides from the gradient.
const AT_ZERO: RGBColor = RGBColor(0x00, 0x72, 0xb2);
/// From 2 equal elements to 4 and more: darker is more, in print as well.
const POSITIVE: [RGBColor; 3] =
    [RGBColor(0xf0, 0xe4, 0x42), RGBColor(0xe6, 0x9f, 0x00), RGBColor(0xd5, 0x5e, 0x00)];

fn color(tie: Tie) -> Option<RGBColor> {
    match tie {
        Tie::None => None,
        Tie::Masked => Some(AT_ZERO),
        Tie::Equal(n) => Some(POSITIVE[(n as usize).clamp(2, 4) - 2]),
        Tie::Structural => Some(POSITIVE[1]),
        Tie::Accidental => Some(POSITIVE[2]),
    }
}

/// The map as an SVG document: the image once for each channel, three beside each other, tied windows
/// coloured.
///
/// Errors: [`Error::Shape`] where the parts do not have the lengths that their shapes say, or a window lies
/// outside of the image.
pub fn tie_map(map: &TieMap) -> Result<String> {
    let [channels, rows, columns] = map.shape;
    let windows = channels * rows * columns;
    if map.ties.len() != windows {
        let expected = format!("{windows} windows for {:?}", map.shape);
        return Err(Error::shape("ties", expected, &[map.ties.len()]));
    }
    let [height, width] = map.image_shape;
    if map.image.len() != height * width {
        return Err(Error::shape("image", format!("{height}x{width} pixels"), &[map.image.len()]));
    }
    let reach = [map.origin[0] + rows * map.stride, map.origin[1] + columns * map.stride];
    if reach[0] > height || reach[1] > width {
        return Err(Error::shape("image", format!("at least {reach:?} pixels"), &map.image_shape));
    }

    let across = channels.clamp(1, 3) as i32;
    let down = (channels as i32 + across - 1) / across;
    let (cell_w, cell_h) = (width as i32 * SCALE + GAP, height as i32 * SCALE + GAP + 44);
    let size = ((across * cell_w + GAP).max(900) as u32, (HEAD + down * cell_h) as u32);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&root, map, [cell_w, cell_h], across).map_err(drawing_error)?;
        root.present().map_err(drawing_error)?;
    }
    Ok(accessible(svg, &map.title))
}

fn draw(root: &Area, map: &TieMap, [cell_w, cell_h]: [i32; 2], across: i32) -> Drawn {
    root.fill(&WHITE)?;
    root.draw(&Text::new(map.title.clone(), (GAP, 14), text(44, BLACK, HPos::Left, VPos::Top)))?;
    legend(root, map)?;
    let [channels, rows, columns] = map.shape;
    for channel in 0..channels {
        let (x, y) = (GAP + channel as i32 % across * cell_w, HEAD + channel as i32 / across * cell_h);
        let label = text(34, BLACK, HPos::Left, VPos::Top);
        root.draw(&Text::new(format!("channel {channel}"), (x, y), label))?;
        let (x, y) = (x, y + 42);
        image(root, map, (x, y))?;
        for window in 0..rows * columns {
            let index = channel * rows * columns + window;
            let Some(color) = color(map.ties[index]) else { continue };
            let row = (map.origin[0] + window / columns * map.stride) as i32;
            let column = (map.origin[1] + window % columns * map.stride) as i32;
            let (x, y) = (x + column * SCALE, y + row * SCALE);
            let side = map.stride as i32 * SCALE - 1;
            // The image shines through; the frame keeps the exact colour of the legend.
            root.draw(&Rectangle::new([(x, y), (x + side, y + side)], color.mix(0.55).filled()))?;
            root.draw(&Rectangle::new(
                [(x + 1, y + 1), (x + side - 1, y + side - 1)],
                color.stroke_width(2),
            ))?;
        }
    }
    Ok(())
}

/// White paper, dark ink; runs of equal pixels are one rectangle.
fn image(root: &Area, map: &TieMap, (x0, y0): (i32, i32)) -> Drawn {
    let [height, width] = map.image_shape;
    for row in 0..height {
        let pixels = &map.image[row * width..][..width];
        let mut start = 0;
        for run in pixels.chunk_by(|a, b| a == b) {
            let (left, right) = (x0 + start as i32 * SCALE, x0 + (start + run.len()) as i32 * SCALE);
            start += run.len();
            let shade = 255 - run[0];
            if shade < 255 {
                let y = y0 + row as i32 * SCALE;
                let fill = RGBColor(shade, shade, shade).filled();
                root.draw(&Rectangle::new([(left, y), (right, y + SCALE)], fill))?;
            }
        }
    }
    let corner = (x0 + width as i32 * SCALE, y0 + height as i32 * SCALE);
    root.draw(&Rectangle::new([(x0, y0), corner], RGBColor(0x99, 0x99, 0x99).stroke_width(1)))
}

fn legend(root: &Area, map: &TieMap) -> Drawn {
    let style = text(36, BLACK, HPos::Left, VPos::Center);
    let entry = |x: i32, y: i32, color: RGBColor, label: &str| {
        root.draw(&Rectangle::new([(x, y - 14), (x + 28, y + 14)], color.filled()))?;
        root.draw(&Text::new(label.to_string(), (x + 38, y), style.clone()))
    };
    entry(GAP, 92, AT_ZERO, "tie at 0 (no gradient passes)")?;
    if map.ties.iter().any(|tie| matches!(tie, Tie::Structural | Tie::Accidental)) {
        entry(GAP, 142, POSITIVE[1], "tie in any arithmetic")?;
        return entry(GAP + 470, 142, POSITIVE[2], "tie by rounding");
    }
    for (i, (color, label)) in POSITIVE.into_iter().zip(["2 equal, not 0", "3", "4 or more"]).enumerate() {
        entry(GAP + [0, 360, 450][i], 142, color, label)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> TieMap {
        TieMap {
            title: "ties".into(),
            image: (0..36).collect(),
            image_shape: [6, 6],
            ties: [
                (0, false),
                (1, true),
                (2, true),
                (4, true),
                (4, false),
                (3, true),
                (1, false),
                (200, true),
            ]
            .map(|(count, positive)| Tie::counted(count, positive))
            .to_vec(),
            shape: [2, 2, 2],
            origin: [1, 1],
            stride: 2,
        }
    }

    #[test]
    fn tied_windows_are_drawn_in_the_colours_of_the_legend() {
        let svg = tie_map(&example()).unwrap();
        let count = |color: &str| svg.matches(color).count();
        // One legend entry each, then a fill and a frame for each window.
        assert_eq!(count("#0072B2"), 1 + 2);
        assert_eq!(count("#F0E442"), 1 + 2);
        assert_eq!(count("#E69F00"), 1 + 2);
        assert_eq!(count("#D55E00"), 1 + 4);
    }

    #[test]
    fn causes_have_a_legend_of_their_own() {
        let mut ties = vec![Tie::None; 8];
        (ties[0], ties[5]) = (Tie::Structural, Tie::Accidental);
        let svg = tie_map(&TieMap { ties, ..example() }).unwrap();
        assert_eq!(["#E69F00", "#D55E00", "#F0E442"].map(|c| svg.matches(c).count()), [3, 3, 0]);
        assert!(svg.contains("tie by rounding"));
    }

    #[test]
    fn shapes_are_checked() {
        assert!(tie_map(&TieMap { ties: vec![Tie::None; 7], ..example() }).is_err());
        assert!(tie_map(&TieMap { origin: [3, 1], ..example() }).is_err());
        assert!(tie_map(&TieMap { image: vec![0; 35], ..example() }).is_err());
    }
}
