//! `Upload-Expires`, and dates as HTTP writes them.

use std::time::{Duration, UNIX_EPOCH};

/// The header's name.
pub const NAME: &str = "Upload-Expires";

/// The last second that has a date of four digits for its year.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// The moment `millis` milliseconds after the Unix epoch as an IMF-fixdate, whole seconds, rounded down; a moment past the
/// year 9999 is its last second.
/// Source: tus 1.0.0, Expiration, Headers, `Upload-Expires`; RFC 9110, 5.6.7.
#[must_use]
pub fn http_date(millis: u64) -> String {
    // httpdate panics past that year.
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(millis).min(LAST))
}

/// The same moment as RFC 3339 writes it, in UTC.
#[must_use]
pub fn rfc3339(millis: u64) -> String {
    calendar(millis) + "Z"
}

/// The same with its milliseconds.
#[must_use]
pub fn rfc3339_millis(millis: u64) -> String {
    format!("{}.{:03}Z", calendar(millis), millis % 1000)
}

fn calendar(millis: u64) -> String {
    let seconds = (millis / 1000).min(LAST.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's civil_from_days: eras of 400 years that begin in March, so that the leap day is a year's last.
    let from_era = days + 719_468;
    let (era, day) = (from_era / 146_097, from_era % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates() {
        for (millis, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (999, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777_000, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_827_696_000, "Tue, 29 Feb 2000 12:34:56 GMT"),
            (253_402_300_799_999, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (253_402_300_800_000, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(http_date(millis), date, "{millis}");
        }
    }

    #[test]
    fn dates_for_programs() {
        for (millis, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (784_111_777_999, "1994-11-06T08:49:37Z"),
            (951_827_696_000, "2000-02-29T12:34:56Z"),
            (1_767_225_599_000, "2025-12-31T23:59:59Z"),
            (1_767_225_600_000, "2026-01-01T00:00:00Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
            (u64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(millis), date, "{millis}");
        }
    }

    #[test]
    fn dates_to_the_millisecond() {
        for (millis, date) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_735_689_599_001, "2024-12-31T23:59:59.001Z"),
            (1_767_225_599_001, "2025-12-31T23:59:59.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339_millis(millis), date);
        }
    }

    proptest! {
        #[test]
        fn both_forms_tell_the_same_moment(second in 0..=LAST.as_secs()) {
            let program = rfc3339(second * 1000);
            let http = http_date(second * 1000);
            let (day, time) = program.trim_end_matches('Z').split_once('T').unwrap();
            let fields: Vec<&str> = http.split(' ').collect();
            prop_assert_eq!(time, fields[4]);
            prop_assert_eq!(&day[8..], fields[1]);
            prop_assert_eq!(&day[..4], fields[3]);
        }

        #[test]
        fn dates_read_back(second in 0..=LAST.as_secs()) {
            let read = httpdate::parse_http_date(&http_date(second * 1000)).unwrap();
            prop_assert_eq!(read, UNIX_EPOCH + Duration::from_secs(second));
        }
    }
}
