//! Numbers as a person reads them.

/// `1234567` as `1,234,567`.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Nanoseconds in the largest unit that leaves a whole part, exactly: `12345678` as `12.345678 ms`.
pub fn time(ns: u64) -> String {
    let (unit, name, places) = match ns {
        0 => return "0 s".to_owned(),
        1..1_000 => (1, "ns", 0),
        1_000..1_000_000 => (1_000, "µs", 3),
        1_000_000..1_000_000_000 => (1_000_000, "ms", 6),
        _ => (1_000_000_000, "s", 9),
    };
    let fraction = format!("{:0places$}", ns % unit);
    match fraction.trim_end_matches('0') {
        "" => format!("{} {name}", number(ns / unit)),
        fraction => format!("{}.{fraction} {name}", number(ns / unit)),
    }
}

/// Nanoseconds of a measurement, cut to three places of the unit: `12345678` as `12.345 ms`.
pub fn measured(ns: u64) -> String {
    time(match ns {
        0..1_000_000 => ns,
        1_000_000..1_000_000_000 => ns - ns % 1_000,
        _ => ns - ns % 1_000_000,
    })
}

/// Bytes in binary units, cut to one place: `1536` as `1.5 KiB`.
pub fn bytes(n: u64) -> String {
    let (unit, name) = match n {
        0..0x400 => return format!("{n} B"),
        0x400..0x10_0000 => (0x400, "KiB"),
        0x10_0000..0x4000_0000 => (0x10_0000, "MiB"),
        _ => (0x4000_0000, "GiB"),
    };
    format!("{}.{} {name}", number(n / unit), n % unit * 10 / unit)
}

/// Events a second of wall time, cut to a whole number; `None` if no time passed.
pub fn rate(events: u64, wall_ns: u64) -> Option<u64> {
    let rate = (u128::from(events) * 1_000_000_000).checked_div(u128::from(wall_ns))?;
    Some(u64::try_from(rate).unwrap_or(u64::MAX))
}

/// `n thing` or `n things`.
pub fn plural(n: u64, one: &str) -> String {
    format!("{} {one}{}", number(n), if n == 1 { "" } else { "s" })
}

/// At most `max` characters of `text`; what is cut is shown as `…`.
pub fn clip(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some(_) => text.chars().take(max.saturating_sub(1)).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_separators() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn times_are_exact_and_measurements_cut() {
        assert_eq!([0, 7, 1_500, 12_345_678].map(time), ["0 s", "7 ns", "1.5 µs", "12.345678 ms"]);
        assert_eq!(time(3_600_000_000_001), "3,600.000000001 s");
        assert_eq!([1_234, 12_345_678, 2_345_678_901].map(measured), ["1.234 µs", "12.345 ms", "2.345 s"]);
    }

    #[test]
    fn bytes_have_binary_units() {
        assert_eq!([1_023, 1_536, 0x10_0000, u64::MAX].map(bytes), ["1023 B", "1.5 KiB", "1.0 MiB", "17,179,869,183.9 GiB"]);
    }

    #[test]
    fn rates_need_time() {
        assert_eq!(rate(3, 2_000_000_000), Some(1));
        assert_eq!(rate(3, 0), None);
        assert_eq!(rate(u64::MAX, 1), Some(u64::MAX));
    }

    #[test]
    fn clipping_counts_characters() {
        assert_eq!(clip("äöü", 3), "äöü");
        assert_eq!(clip("äöüß", 3), "äö…");
    }
}
