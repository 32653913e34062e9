//! Values as people write them: Go's durations and booleans, sizes with a suffix, octal permissions.

use std::time::Duration;

/// A part of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of all of it.
    Percent(u8),
}

impl Share {
    /// In bytes, of a disk of `total`.
    #[must_use]
    pub fn of(self, total: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            // Divided first: it cannot overflow, and some bytes more or less are nothing to a disk.
            Self::Percent(percent) => total / 100 * u64::from(percent),
        }
    }
}

/// Go's `time.ParseDuration`, without negative ones: `15s`, `1m30s`, `1.5h`, `100ms`, `0`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() || rest.starts_with('-') {
        return Err("a duration such as 15s, 1m30s or 24h, not negative".into());
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let number = |c: char| c.is_ascii_digit() || c == '.';
        let (amount, tail) = rest.split_at(rest.find(|c| !number(c)).unwrap_or(rest.len()));
        let (unit, tail) = tail.split_at(tail.find(number).unwrap_or(tail.len()));
        let unit = nanos_of(unit)?;
        nanos += scaled(amount, unit).ok_or_else(|| format!("{amount:?} is not a number"))?;
        rest = tail;
    }
    // Go counts nanoseconds in 63 bits.
    let nanos = i64::try_from(nanos).map_err(|_| "longer than 292 years")?;
    Ok(Duration::from_nanos(nanos.unsigned_abs()))
}

fn nanos_of(unit: &str) -> Result<u128, String> {
    Ok(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000, // both signs for micro, as Go
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" => return Err("the unit is missing; write 15s, 1m30s or 24h".into()),
        other => {
            return Err(format!(
                "{other:?} is not one of the units ns, us, ms, s, m, h"
            ));
        }
    })
}

/// `amount`, digits with at most one point, times `unit`.
fn scaled(amount: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let fraction = &fraction[..fraction.len().min(15)]; // past that it is below a nanosecond, even of hours
    let part: u128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let below = part * unit / 10u128.pow(u32::try_from(fraction.len()).ok()?);
    Some(u128::from(whole) * unit + below)
}

/// What stands between commas, without blanks around it; what is empty is passed over.
pub(crate) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

/// Bytes: `1000`, `64K`, `64KiB` (1024 each), `64KB` (1000 each), up to P; the suffix without regard to case.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (number, suffix) = text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    );
    let suffix = suffix.trim_start().to_ascii_uppercase();
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} is not a size such as 1000000, 64MiB or 1G"))?;
    let (base, power) = match suffix.as_str() {
        "" | "B" => (1, 0),
        _ => {
            let (letter, kind) = suffix.split_at_checked(1).unwrap_or((&suffix, ""));
            let base: u64 = match kind {
                "" | "IB" => 1024,
                "B" => 1000,
                _ => return Err(unknown(&suffix)),
            };
            let power = ["K", "M", "G", "T", "P"]
                .iter()
                .position(|l| *l == letter)
                .ok_or_else(|| unknown(&suffix))?;
            (base, u32::try_from(power + 1).map_err(|e| e.to_string())?)
        }
    };
    // Lengths are 63 bits on the wire of every client that counts in signed numbers.
    number
        .checked_mul(base.pow(power))
        .filter(|bytes| i64::try_from(*bytes).is_ok())
        .ok_or_else(|| format!("{text:?} is more than 2^63-1 bytes"))
}

/// A size, or percents of the disk: `10G`, `5%`.
pub(crate) fn share(text: &str) -> Result<Share, String> {
    match text.trim().strip_suffix('%') {
        None => size(text).map(Share::Bytes),
        Some(percent) => match percent.trim_end().parse() {
            Ok(percent @ 0..=100) => Ok(Share::Percent(percent)),
            _ => Err(format!("{text:?} is not a percentage from 0% to 100%")),
        },
    }
}

fn unknown(suffix: &str) -> String {
    format!("{suffix:?} is not one of the suffixes K, KiB, KB, M, MiB, MB, G, ... P")
}

/// Go's `strconv.ParseBool`.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("true or false".into()),
    }
}

/// `on` or `off`, or a switch's own words.
pub(crate) fn on_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => switch(text).map_err(|_| "on or off".into()),
    }
}

/// Permission bits in octal, up to 777.
pub(crate) fn octal(text: &str) -> Result<u32, String> {
    let bad = || format!("{text:?} is not octal permissions such as 0755");
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|bits| *bits <= 0o777)
        .ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let good: [(&str, u64); 13] = [
            ("0", 0),
            ("0s", 0),
            ("+5s", 5_000_000_000),
            ("15s", 15_000_000_000),
            ("1m30s", 90_000_000_000),
            ("24h", 86_400_000_000_000),
            ("100ms", 100_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("1us1\u{b5}s1\u{3bc}s1ns", 3001),
            ("0.100000000000000000000h", 360_000_000_000),
            ("2540400h10m10s", 9_145_440_610_000_000_000),
        ];
        for (text, nanos) in good {
            assert_eq!(duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        for text in [
            "",
            "2",
            "-1s",
            ".",
            ".s",
            "1..5s",
            "1d",
            "1h 2m",
            "s",
            "1S",
            "99999999999999999999s",
            "3000000h",
            "\u{661}s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_suffixes() {
        let good: [(&str, u64); 12] = [
            ("0", 0),
            ("1000000000", 1_000_000_000),
            ("7b", 7),
            ("1K", 1024),
            ("1kib", 1024),
            ("1KB", 1000),
            ("3MB", 3_000_000),
            ("2MiB", 2_097_152),
            ("1 GiB", 1_073_741_824),
            ("1g", 1_073_741_824),
            ("5T", 5_497_558_138_880),
            ("9223372036854775807", 9_223_372_036_854_775_807),
        ];
        for (text, bytes) in good {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "-1",
            "+1",
            "K",
            "1X",
            "1KiBs",
            "1.5G",
            "9223372036854775808",
            "8192P",
            "1\u{b5}",
            "0x10",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn switches_and_permissions() {
        for (text, value) in [
            ("1", true),
            ("t", true),
            ("TRUE", true),
            ("True", true),
            ("0", false),
            ("F", false),
        ] {
            assert_eq!(switch(text), Ok(value), "{text}");
        }
        assert!(switch("yes").is_err() && switch("").is_err() && switch("tRUE").is_err());
        assert_eq!(
            (on_off("on"), on_off("off"), on_off("false")),
            (Ok(true), Ok(false), Ok(false))
        );
        assert_eq!(
            (octal("0775"), octal("664"), octal("0")),
            (Ok(0o775), Ok(0o664), Ok(0))
        );
        assert!(
            octal("0888").is_err()
                && octal("1777").is_err()
                && octal("+7").is_err()
                && octal("").is_err()
        );
    }
}
