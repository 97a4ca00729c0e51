//! Pictures for those who cannot take SVG: the same drawing as pixels.

use std::sync::{Arc, OnceLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use crate::error::{Error, Result};

/// The drawing as a PNG file, `width` pixels wide.
///
/// Errors: [`Error::Unsupported`] on a system without a font, where texts would be missing; [`Error::InvalidArgument`] for
/// what is no SVG document.
pub fn png(svg: &str, width: u32) -> Result<Vec<u8>> {
    let fontdb = fonts();
    if fontdb.is_empty() {
        let what = "PNG: the system has no font (Debian: install fonts-dejavu-core)";
        return Err(Error::Unsupported(what.into()));
    }
    let wrong = |e: &dyn std::fmt::Display| Error::invalid("svg", "an SVG document", e);
    let options = Options { fontdb, ..Options::default() };
    let tree = Tree::from_str(svg, &options).map_err(|e| wrong(&e))?;
    let scale = width as f32 / tree.size().width();
    let height = (tree.size().height() * scale).ceil() as u32;
    let mut pixels =
        Pixmap::new(width, height).ok_or_else(|| Error::invalid("width", "at least 1", width))?;
    pixels.fill(resvg::tiny_skia::Color::WHITE);
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixels.as_mut());
    pixels.encode_png().map_err(|e| wrong(&e))
}

/// The system's, read once.
fn fonts() -> Arc<fontdb::Database> {
    static FONTS: OnceLock<Arc<fontdb::Database>> = OnceLock::new();
    let load = || {
        let mut fonts = fontdb::Database::new();
        fonts.load_system_fonts();
        let known = ["DejaVu Sans", "Liberation Sans", "Noto Sans", "Arial", "Helvetica"];
        let has = |name: &&str| fonts.faces().any(|f| f.families.iter().any(|(family, _)| family == name));
        let any = || Some(fonts.faces().next()?.families.first()?.0.clone());
        let family = known.into_iter().find(has).map(String::from).or_else(any);
        if let Some(family) = family {
            fonts.set_sans_serif_family(family);
        }
        Arc::new(fonts)
    };
    FONTS.get_or_init(load).clone()
}
