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

    proptest! {
        #[test]
        fn dates_read_back(second in 0..=LAST.as_secs()) {
            let read = httpdate::parse_http_date(&http_date(second * 1000)).unwrap();
            prop_assert_eq!(read, UNIX_EPOCH + Duration::from_secs(second));
        }
    }
}
