//! Pictures as PNG files.

use tiebreak::Error;
use tiebreak::report::png::png;

#[test]
fn a_drawing_becomes_pixels() {
    let svg = r##"<svg width="100" height="50" xmlns="http://www.w3.org/2000/svg">
        <rect width="50" height="50" fill="#0072B2"/></svg>"##;
    let bytes = match png(svg, 200) {
        Err(Error::Unsupported(why)) => return eprintln!("skipped: {why}"),
        result => result.unwrap(),
    };
    let image = image::load_from_memory(&bytes).unwrap().to_rgb8();
    assert_eq!(image.dimensions(), (200, 100));
    assert_eq!(image.get_pixel(20, 50).0, [0x00, 0x72, 0xb2]);
    assert_eq!(image.get_pixel(180, 50).0, [255; 3]);
    assert!(matches!(png("<svg", 200), Err(Error::InvalidArgument { .. })));
    assert!(matches!(png(svg, 0), Err(Error::InvalidArgument { .. })));
}

#[test]
fn texts_are_drawn() {
    let svg = |text: &str| {
        format!(
            r##"<svg width="100" height="50" xmlns="http://www.w3.org/2000/svg">
            <text x="5" y="40" font-family="sans-serif" font-size="38" fill="#000000">{text}</text></svg>"##
        )
    };
    let ink = |text: &str| {
        let pixels = image::load_from_memory(&png(&svg(text), 100).unwrap()).unwrap().to_luma8();
        pixels.pixels().filter(|p| p.0[0] < 128).count()
    };
    match png(&svg(""), 100) {
        Err(Error::Unsupported(why)) => eprintln!("skipped: {why}"),
        _ => assert!(ink("") == 0 && ink("10⁻³") > 100),
    }
}
