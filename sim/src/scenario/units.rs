//! Numbers with a unit. Errors are plain words; who reads the value adds the place.

/// What a time looks like.
pub(super) const TIME: &str = "a time: a whole number and ns, us, ms or s, like \"1ms\"";
/// What a size looks like.
pub(super) const SIZE: &str = "a size: a whole number of bytes, or one with B, KiB, MiB or GiB, like \"2KiB\"";
/// What a rate looks like.
pub(super) const RATE: &str = "a rate: a whole number from 1 and /us, /ms or /s, like \"200/s\"";

const TIMES: [(&str, u64); 4] = [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];
const SIZES: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
const RATES: [(&str, u64); 3] = [("/us", 1_000), ("/ms", 1_000_000), ("/s", 1_000_000_000)];

/// A time in ns.
pub(super) fn time(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text, &TIMES)?;
    number.checked_mul(unit).ok_or_else(|| too_large(text))
}

/// A size in bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text, &SIZES)?;
    number.checked_mul(unit).ok_or_else(|| too_large(text))
}

/// The mean gap, in ns, of a rate; at least 1.
pub(super) fn gap(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text, &RATES)?;
    match unit.checked_div(number) {
        None => Err(format!("the rate \"{text}\" is 0")),
        Some(0) => Err(format!("the rate \"{text}\" is more than one each ns")),
        Some(gap) => Ok(gap),
    }
}

fn split(text: &str, units: &[(&str, u64)]) -> Result<(u64, u64), String> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err(format!("\"{text}\" is negative"));
    }
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let unit = unit.trim_start();
    if digits.is_empty() {
        return Err(format!("\"{text}\" does not begin with a number"));
    }
    if unit.is_empty() {
        return Err(format!("\"{text}\" has no unit"));
    }
    let (_, factor) = units.iter().find(|(name, _)| *name == unit).ok_or_else(|| format!("\"{text}\" has the unknown unit \"{unit}\""))?;
    digits.parse().map(|number| (number, *factor)).map_err(|_| too_large(text))
}

fn too_large(text: &str) -> String {
    format!("\"{text}\" overflows a 64-bit number")
}
