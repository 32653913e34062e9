//! What the cases of several groups share: judging an answer, sums, dates.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::Digest;

use crate::case::{Outcome, Stop, ensure};
use crate::client::Client;
use crate::target::Url;
use crate::wire::Response;

/// `Tus-Extension` with everything but one, for servers that forget to announce it.
macro_rules! announces {
    ($list:literal) => {
        crate::reference::Fault::Field("OPTIONS", 0, "Tus-Extension", $list)
    };
}
pub(super) use announces;

/// That an answer has this status.
pub(super) fn ensure_status(answer: &Response, status: u16) -> Outcome {
    ensure(
        answer.status == status,
        format!("answered by {} instead of {status}", answer.status),
    )
}

/// That a request was carried out, whatever its status should have been.
pub(super) fn ensure_taken(what: &str, answer: &Response) -> Outcome {
    ensure(
        (200..300).contains(&answer.status),
        format!("{what} answered by {}", answer.status),
    )
}

/// That a request was refused as the client's mistake.
pub(super) fn ensure_refused(what: &str, answer: &Response) -> Outcome {
    ensure(
        (400..500).contains(&answer.status),
        format!("{what} answered by {}", answer.status),
    )
}

/// The answer to HEAD of an upload that has to be there before the clause can be looked at.
pub(super) fn head(client: &Client<'_>, upload: &Url) -> Result<Response, Stop> {
    let answer = client.send(&client.head(upload))?;
    if matches!(answer.status, 200 | 204) {
        Ok(answer)
    } else {
        let status = answer.status;
        Err(Stop::Skip(format!(
            "cannot get there: HEAD answered by {status}"
        )))
    }
}

/// Where a creation that was answered by 201 leads; whether it has to say so is for the cases about creation.
pub(super) fn located(client: &Client<'_>, created: &Response) -> Result<Url, Stop> {
    let found = client.location(created);
    found.or_else(|_| not_so("201 has no Location"))
}

/// Whether OPTIONS names an extension now.
pub(super) fn ensure_announced(client: &Client<'_>, extension: &str) -> Outcome {
    let answer = client.send(&client.options().body(""))?;
    let found = answer.list("Tus-Extension");
    ensure(
        found.iter().any(|name| name == extension),
        format!("it does {extension}, and announces {found:?}"),
    )
}

/// What something that the server does not do leaves to say.
pub(super) fn not_so<T>(what: &str) -> Result<T, Stop> {
    Err(Stop::Skip(format!("the server does not do it: {what}")))
}

/// `Tus-Max-Size`, if going past it takes no more than 6 MiB.
pub(super) fn small_max(client: &Client<'_>) -> Result<u64, Stop> {
    match client.server.max_size {
        Some(max) if max <= 6 * 1024 * 1024 => Ok(max),
        found => Err(Stop::Skip(format!(
            "Tus-Max-Size is {found:?}: a case sends no more than 6 MiB"
        ))),
    }
}

/// Bytes that differ everywhere, so that a shift shows.
pub(super) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

/// `Upload-Checksum` of some bytes. `None` for an algorithm that is not known here, or whose sum's form is not settled (CRC).
pub(super) fn checksum(algorithm: &str, bytes: &[u8]) -> Option<String> {
    let sum = match algorithm {
        "sha1" => sha1::Sha1::digest(bytes).to_vec(),
        "md5" => md5::Md5::digest(bytes).to_vec(),
        "sha224" => sha2::Sha224::digest(bytes).to_vec(),
        "sha256" => sha2::Sha256::digest(bytes).to_vec(),
        "sha384" => sha2::Sha384::digest(bytes).to_vec(),
        "sha512" => sha2::Sha512::digest(bytes).to_vec(),
        _ => return None,
    };
    Some(format!("{algorithm} {}", STANDARD.encode(sum)))
}

/// `Upload-Checksum` by the algorithm that every server has to know.
pub(super) fn sha1(bytes: &[u8]) -> String {
    format!("sha1 {}", STANDARD.encode(sha1::Sha1::digest(bytes)))
}

/// A date as HTTP writes it (RFC 9110, section 5.6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date {
    /// Seconds since 1970.
    pub(super) seconds: u64,
    /// Whether it is an IMF-fixdate, to the byte.
    pub(super) fixdate: bool,
    /// Whether the name of the day is that of the date.
    pub(super) right_day: bool,
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
/// From 1970-01-01 on.
const DAYS: [&str; 7] = [
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
];

impl Date {
    /// In any of the three forms. `None` for what is no such date.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split([' ', '-']).filter(|w| !w.is_empty()).collect();
        let (name, day, month, year, time) = match words[..] {
            [name, day, month, year, time, "GMT"] => {
                (name.strip_suffix(',')?, day, month, year, time)
            }
            [name, month, day, time, year] => (name, day, month, year, time),
            _ => return None,
        };
        let month = MONTHS.iter().position(|m| *m == month)?;
        let (day, year) = (digits(day, 1..=2)?, digits(year, 2..=4)?);
        let year = if year < 100 { year + 2000 } else { year };
        let mut parts = time.split(':').map(|part| digits(part, 2..=2));
        let (h, m, s) = (parts.next()??, parts.next()??, parts.next()??);
        if parts.next().is_some()
            || h > 23
            || m > 59
            || s > 60
            || !(1..=31).contains(&day)
            || year < 1970
        {
            return None;
        }
        let days = days_since_1970(year, month as u64 + 1, day);
        let right = DAYS[usize::try_from(days % 7).ok()?];
        if !DAYS.iter().any(|day| *day == name || day[..3] == *name) {
            return None;
        }
        let fixdate = format!(
            "{}, {day:02} {} {year:04} {h:02}:{m:02}:{s:02} GMT",
            &name[..3],
            MONTHS[month]
        );
        Some(Self {
            seconds: days * 86_400 + h * 3600 + m * 60 + s,
            fixdate: fixdate == text,
            right_day: right == name || right[..3] == *name,
        })
    }

    /// `Date` of an answer, or this machine's clock where there is none.
    pub(super) fn of(answer: &Response) -> u64 {
        let said = answer.get("Date").and_then(Self::parse);
        said.map_or_else(
            || {
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or(Duration::ZERO)
                    .as_secs()
            },
            |date| date.seconds,
        )
    }
}

fn digits(text: &str, len: std::ops::RangeInclusive<usize>) -> Option<u64> {
    let right = len.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    right.then(|| text.parse().ok())?
}

fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let of_month = |m: u64| match m {
        2 => 28 + u64::from(leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let years: u64 = (1970..year).map(|y| 365 + u64::from(leap(y))).sum();
    years + (1..month).map(of_month).sum::<u64>() + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_of_a_date_are_one_time() {
        for (text, fixdate) in [
            ("Sun, 06 Nov 2044 08:49:37 GMT", true),
            ("Sunday, 06-Nov-44 08:49:37 GMT", false),
            ("Sun Nov  6 08:49:37 2044", false),
        ] {
            let date = Date::parse(text).unwrap();
            assert_eq!(date.seconds, 2_362_034_977, "{text}");
            assert_eq!((date.fixdate, date.right_day), (fixdate, true), "{text}");
        }
        let wrong = Date::parse("Mon, 06 Nov 2044 08:49:37 GMT").unwrap();
        assert!(wrong.fixdate && !wrong.right_day);
        for text in [
            "",
            "soon",
            "2044-11-06T08:49:37Z",
            "2362034977",
            "Sun, 06 Nov 2044 08:49:37 UTC",
            "Thu, 00 Jan 1970 00:00:00 GMT",
            "Thu, 32 Jan 1970 00:00:00 GMT",
        ] {
            assert_eq!(Date::parse(text), None, "{text}");
        }
    }

    #[test]
    fn sums_are_what_the_algorithms_say() {
        let sums = [
            ("sha1", "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="),
            ("md5", "md5 XrY7u+Ae7tCTyyK7j1rNww=="),
        ];
        for (name, sum) in sums {
            assert_eq!(checksum(name, b"hello world").as_deref(), Some(sum));
        }
        assert_eq!(sha1(b"hello world"), sums[0].1);
    }
}
