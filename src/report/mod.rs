//! What an experiment hands to a reader: plots ([`plot`]) and a page ([`page`]).
//!
//! Nothing here knows an experiment: callers bring numbers and words.

pub mod heat_map;
pub mod page;
pub mod plot;
#[cfg(feature = "png")]
pub mod png;
pub mod tie_map;

use std::time::{SystemTime, UNIX_EPOCH};

/// `value` as a label for axes and tables: powers of ten from 1000 on as 10³, others as they are.
pub fn power_label(value: f64) -> String {
    let exponent = value.abs().log10().round();
    if exponent < 3.0 || 10f64.powf(exponent) != value.abs() {
        return value.to_string();
    }
    format!("{}{}", if value < 0.0 { "−" } else { "" }, power_of_ten(exponent as i32))
}

/// 10 with its exponent in small figures.
pub fn power_of_ten(exponent: i32) -> String {
    let digits = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let figures = exponent.unsigned_abs().to_string();
    let raised: String = figures.bytes().map(|b| digits[usize::from(b - b'0')]).collect();
    format!("10{}{raised}", if exponent < 0 { "⁻" } else { "" })
}

/// A moment as `2026-01-31 13:05 UTC`.
pub fn utc(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (days, minutes) = ((seconds / 86_400) as i64, seconds % 86_400 / 60);
    // Howard Hinnant's days-to-civil: years begin in March, so that the leap day comes last.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year_of_era + 400 * era + carry;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn labels() {
        let labels = [0.0, 1.0, 100.0, 1000.0, 1e4, -1e12, 2500.0, 0.5].map(power_label);
        assert_eq!(labels, ["0", "1", "100", "10³", "10⁴", "−10¹²", "2500", "0.5"]);
        assert_eq!([-10, 0, 5].map(power_of_ten), ["10⁻¹⁰", "10⁰", "10⁵"]);
    }

    #[test]
    fn dates() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01 00:00 UTC");
        assert_eq!(at(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(at(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(at(4_102_444_800), "2100-01-01 00:00 UTC");
    }
}
