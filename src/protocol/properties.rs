//! Each header against its grammar, written down a second time as a regular expression: what the one takes the other takes,
//! and both read the same out of it. Inputs are any bytes, and words of the grammar in any order.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use regex::bytes::{Captures, Regex};

use super::base_path::{BasePath, Target};
use super::checksum::{Algorithm, ChecksumError, UploadChecksum};
use super::concat::{self, ConcatError, ConcatHeader, MAX_PARTS, UploadConcat};
use super::conditional::{Verdict, date, verdict};
use super::expires::http_date;
use super::forwarded::Forwarded;
use super::length::{UploadLength, declared};
use super::location::{Origin, PublicUrl, Via, resolve};
use super::metadata::UploadMetadata;
use super::method::{TusMethod, effective};
use super::offset::UploadOffset;
use super::range::{Requested, requested};
use super::testing::{any_value, head};
use super::{HeaderError, authority, media};
use crate::upload::UploadId;

/// Base64 of RFC 4648, 4: padded, and without bits that are cut off.
const BASE64: &str =
    "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?";
/// A segment of a path, RFC 3986, 3.3, that is not empty. Dots are seen to apart.
const SEGMENT: &str = "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+";
const AUTHORITY: &str = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]{1,255})(?::([0-9]{1,5}))?";

/// A whole text by a grammar of bytes, with blanks and tabs around it read over.
fn grammar(text: &str) -> Regex {
    Regex::new(&format!(r"^(?s-u)[ \t]*(?:{text})[ \t]*$")).unwrap()
}

fn exactly(text: &str) -> Regex {
    Regex::new(&format!("^(?s-u)(?:{text})$")).unwrap()
}

/// Values near a grammar: its words in any order, now and then any byte.
fn near(words: &'static [&'static str]) -> impl Strategy<Value = HeaderValue> {
    let word = prop_oneof![
        40 => proptest::sample::select(words).prop_map(|word| word.as_bytes().to_vec()),
        1 => any_value().prop_map(|value| value.as_bytes().to_vec()),
    ];
    let near = proptest::collection::vec(word, 0..9)
        .prop_map(|words| HeaderValue::from_bytes(&words.concat()).unwrap());
    prop_oneof![9 => near, 1 => any_value()]
}

fn with(name: &'static str, value: &HeaderValue) -> HeaderMap {
    HeaderMap::from_iter([(name.parse().unwrap(), value.clone())])
}

fn text<'h>(found: &Captures<'h>, group: usize) -> &'h str {
    let found = found.get(group).map_or(&b""[..], |found| found.as_bytes());
    std::str::from_utf8(found).unwrap()
}

/// Decimal digits as a number, whatever their number; past `u128` it is its last one.
fn naive(digits: &str) -> u128 {
    let mut number = 0_u128;
    for digit in digits.chars().filter_map(|c| c.to_digit(10)) {
        number = number.saturating_mul(10).saturating_add(u128::from(digit));
    }
    number
}

static COUNT: LazyLock<Regex> = LazyLock::new(|| exactly("[0-9]+"));
static METADATA: LazyLock<Regex> = LazyLock::new(|| {
    let pair = format!(r"[ \t]*[!-+\--~]+(?: {BASE64})?[ \t]*");
    grammar(&format!("(?:{pair}(?:,{pair})*)?"))
});
static PAIR: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?-u)([!-+\--~]+)(?: ([A-Za-z0-9+/=]*))?[ \t]*(?:,|$)").unwrap());
static CONCAT: LazyLock<Regex> = LazyLock::new(|| grammar("(partial)|final;([ !-~]*)"));
static CHECKSUM: LazyLock<Regex> = LazyLock::new(|| grammar("([^ ]*) (.*[^ \\t])"));
static SUM: LazyLock<Regex> = LazyLock::new(|| exactly(BASE64));
static RANGE: LazyLock<Regex> =
    LazyLock::new(|| grammar(r"(?i)bytes[ \t]*=[ \t]*([0-9]*)-([0-9]*)"));
static MEDIA: LazyLock<Regex> =
    LazyLock::new(|| grammar(r"(?i)application/offset\+octet-stream[ \t]*(?:;.*)?"));
static PATH: LazyLock<Regex> = LazyLock::new(|| exactly(&format!("/?{SEGMENT}(?:/{SEGMENT})*/?")));
static DOTS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?-u)(?:^|/)\.\.?(?:/|$)").unwrap());
static HOST: LazyLock<Regex> = LazyLock::new(|| exactly(AUTHORITY));
static URL: LazyLock<Regex> =
    LazyLock::new(|| exactly(&format!("(?i:https?)://({AUTHORITY})((?:/{SEGMENT})*)/?")));

/// What an authority is beyond its grammar: ports end at 65535, and what stands in brackets is an address.
fn is_authority(text: &str) -> bool {
    let Some(found) = HOST.captures(text.as_bytes()) else {
        return false;
    };
    let address = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    naive(self::text(&found, 1)) <= 65_535
        && address.is_none_or(|(address, _)| address.parse::<std::net::Ipv6Addr>().is_ok())
}

const COUNTS: &[&str] = &[
    "0",
    "1",
    "9",
    "9223372036854775807",
    "+",
    "-",
    " ",
    ".",
    "x",
    ",",
    "_",
];
const PAIRS: &[&str] = &[
    "a", "b", "filename", "a", " ", " ", " ", ",", ",", ",", "\t", "YQ==", "YR==", "YWI=", "YWJj",
    "=", "/+8=", "_w==",
];
const CONCATS: &[&str] = &[
    "partial", "final;", "final;", "final", "Final;", ";", " ", " ", "\t", "/files/a", "b",
];
const CHECKSUMS: &[&str] = &[
    "sha1",
    "SHA1",
    "crc32c",
    "md5",
    "sha3",
    " ",
    " ",
    " ",
    "\t",
    "AAAAAA==",
    "AAAAAB==",
    "AAAAAAAAAAAAAAAAAAAAAA==",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "=",
    "A",
];
const RANGES: &[&str] = &[
    "bytes=",
    "bytes=",
    "Bytes",
    "=",
    "-",
    "-",
    "0",
    "4",
    "9",
    "10",
    "99",
    "18446744073709551615",
    " ",
    ",",
    "\t",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn counts(value in near(COUNTS)) {
        let text = std::str::from_utf8(value.as_bytes()).unwrap_or("x");
        let good = COUNT.is_match(value.as_bytes()) && naive(text) <= i64::MAX.unsigned_abs().into();
        let count = good.then(|| text.trim_start_matches('0').parse().unwrap_or(0));
        prop_assert_eq!(UploadOffset::from_headers(&with("upload-offset", &value)).ok(), count.map(UploadOffset));
        let headers = with("upload-length", &value);
        prop_assert_eq!(declared(&headers).ok(), count.map(Some));
        prop_assert_eq!(UploadLength::from_headers(&headers).ok(), count.map(|count| Some(UploadLength::Known(count))));
        let deferred = UploadLength::from_headers(&with("upload-defer-length", &value));
        prop_assert_eq!(deferred.is_ok(), value.as_bytes() == b"1");
    }

    #[test]
    fn metadata(value in near(PAIRS)) {
        let raw = value.as_bytes();
        let well_formed = METADATA.is_match(raw);
        let pairs: Vec<_> = PAIR.captures_iter(raw)
            .filter(|_| well_formed)
            .map(|pair| (text(&pair, 1).to_owned(), text(&pair, 2).to_owned()))
            .collect();
        let twice = pairs.iter().enumerate().any(|(at, (key, _))| pairs[..at].iter().any(|(other, _)| other == key));
        let read = UploadMetadata::from_headers(&with("upload-metadata", &value));
        prop_assert_eq!(read.is_ok(), well_formed && !twice, "{:?}", value);
        if let Ok(Some(metadata)) = read {
            prop_assert_eq!(metadata.raw(), raw);
            let read: Vec<_> = metadata.pairs().map(|(key, value)| (key.to_owned(), STANDARD.encode(value))).collect();
            prop_assert_eq!(read, pairs);
        }
    }

    #[test]
    fn concats(value in near(CONCATS)) {
        let read = ConcatHeader::from_headers(&with(concat::NAME, &value));
        let wanted = CONCAT.captures(value.as_bytes()).and_then(|found| {
            let parts: Vec<_> = text(&found, 2).split_ascii_whitespace().map(str::to_owned).collect();
            let partial = found.get(1).map(|_| UploadConcat::Partial);
            partial.or((!parts.is_empty()).then_some(UploadConcat::Final(parts)))
        });
        match (read, wanted) {
            (Ok(Some(read)), Some(wanted)) => {
                prop_assert_eq!(read.raw, value.as_bytes());
                prop_assert_eq!(read.value, wanted);
            }
            (read, wanted) => {
                prop_assert_eq!(read, Err(ConcatError::Header(HeaderError::Malformed(concat::NAME))));
                prop_assert_eq!(wanted, None);
            }
        }
    }

    #[test]
    fn finals_of_many_parts(count in MAX_PARTS - 2..MAX_PARTS + 3, blanks in 1..3_usize) {
        let value = format!("final;{}", format!("p{}", " ".repeat(blanks)).repeat(count));
        let read = ConcatHeader::from_headers(&head(&[(concat::NAME, value)]));
        match read {
            Ok(Some(ConcatHeader { value: UploadConcat::Final(parts), .. })) => {
                prop_assert!(parts.len() == count && count <= MAX_PARTS);
            }
            read => prop_assert!(read == Err(ConcatError::TooMany(count)) && count > MAX_PARTS),
        }
    }

    #[test]
    fn checksums(value in near(CHECKSUMS)) {
        let malformed = Err(ChecksumError::Header(HeaderError::Malformed("Upload-Checksum")));
        let wanted = CHECKSUM.captures(value.as_bytes()).filter(|found| !found[1].is_empty()).map_or(malformed.clone(), |found| {
            let known = |algorithm: &Algorithm| algorithm.name().as_bytes() == found[1].to_ascii_lowercase();
            let Some(algorithm) = Algorithm::ALL.into_iter().find(known) else {
                return Err(ChecksumError::Unknown);
            };
            let sum = Some(&found[2]).filter(|sum| SUM.is_match(sum)).map(|sum| STANDARD.decode(sum).unwrap());
            let sum = sum.filter(|sum| sum.len() == algorithm.sum_len());
            sum.map_or(malformed, |sum| Ok(UploadChecksum { algorithm, sum }))
        });
        prop_assert_eq!(UploadChecksum::from_value(&value), wanted, "{:?}", value);
    }

    #[test]
    fn ranges(value in near(RANGES), length in prop_oneof![Just(0), 1..12_u64, Just(u64::MAX)]) {
        let read = requested(&with("range", &value), length, "\"t\"", 0);
        let all = u128::from(length);
        let wanted = RANGE.captures(value.as_bytes()).map_or(Requested::Whole, |found| {
            let (first, last) = (text(&found, 1), text(&found, 2));
            // The bytes named, one after the last.
            let (from, to) = match (first, last) {
                ("", "") => return Requested::Whole,
                ("", count) if naive(count) == 0 => return Requested::Unsatisfiable,
                ("", _) if length == 0 => return Requested::Whole,
                ("", count) => (all.saturating_sub(naive(count)), all),
                (first, "") => (naive(first), all),
                (first, last) if naive(first) > naive(last) => return Requested::Whole,
                (first, last) => (naive(first), naive(last).saturating_add(1).min(all)),
            };
            let narrow = |number: u128| u64::try_from(number).unwrap();
            if from >= all {
                Requested::Unsatisfiable
            } else {
                Requested::Part(narrow(from)..narrow(to))
            }
        });
        prop_assert_eq!(read, wanted, "{:?} of {}", value, length);
    }

    #[test]
    fn media_types(value in near(&["application/offset+octet-stream", "Application/", "offset+octet-stream", ";", " ", "\t", "x=y", ","])) {
        prop_assert_eq!(media::is_offset_stream(&with("content-type", &value)), MEDIA.is_match(value.as_bytes()));
    }

    #[test]
    fn overrides(value in near(&["PATCH", "patch", "DELETE", "Head", "POST", "OPTIONS", "get", "PUT", " ", "\t", ","])) {
        let shown = String::from_utf8_lossy(value.as_bytes()).to_ascii_uppercase();
        let shown = shown.trim_matches([' ', '\t']);
        let wanted = TusMethod::ALL.into_iter().find(|method| method.name() == shown);
        let headers = with("x-http-method-override", &value);
        prop_assert_eq!(effective(&http::Method::POST, &headers), wanted);
        for other in [http::Method::GET, http::Method::HEAD, http::Method::DELETE] {
            prop_assert_eq!(effective(&other, &headers).map(TusMethod::name), Some(other.as_str()));
        }
    }

    #[test]
    fn tags(tags in proptest::collection::vec(("(W/)?", "[!#-~\u{e9}]{0,3}"), 1..5), blanks in "[ \t]{0,2}", weak: bool) {
        let list: Vec<_> = tags.iter().map(|(weak, tag)| format!("{weak}\"{tag}\"")).collect();
        let list = list.join(&format!("{blanks},{blanks}"));
        let etag = format!("{}\"a\"", if weak { "W/" } else { "" });
        let ask = |name| verdict(&head(&[(name, &list)]), &etag, 0);
        let strong = !weak && tags.iter().any(|(weak, tag)| weak.is_empty() && tag == "a");
        prop_assert_eq!(ask("if-match"), if strong { Verdict::Go } else { Verdict::Failed });
        let weakly = tags.iter().any(|(_, tag)| tag == "a");
        prop_assert_eq!(ask("if-none-match"), if weakly { Verdict::NotModified } else { Verdict::Go });
    }

    #[test]
    fn dates(at in 0..253_402_300_799_u64, modified in -3..4_i64, millis in 0..1000_u64) {
        let headers = |name| head(&[(name, http_date(at * 1000))]);
        prop_assert_eq!(date(&headers("if-modified-since"), "if-modified-since"), Some(at));
        let Some(modified) = at.checked_add_signed(modified) else {
            return Ok(());
        };
        let ask = |name| verdict(&headers(name), "\"t\"", modified * 1000 + millis);
        let newer = modified > at;
        prop_assert_eq!(ask("if-modified-since"), if newer { Verdict::Go } else { Verdict::NotModified });
        prop_assert_eq!(ask("if-unmodified-since"), if newer { Verdict::Failed } else { Verdict::Go });
    }

    #[test]
    fn base_paths(text in "(files|a\\.b|~|[/.%é ?#]|%2e|%zz|%4){0,6}", path in "/?(files)?(/|a|b|[.]|%2[eEfF]|%61|%ff|%00| |%){0,8}") {
        let bytes = text.as_bytes();
        let good = matches!(&*text, "" | "/") || (PATH.is_match(bytes) && !DOTS.is_match(bytes));
        let base = text.parse::<BasePath>();
        prop_assert_eq!(base.is_ok(), good, "{:?}", text);
        for base in base.into_iter().chain(["/files/".parse().unwrap(), "/".parse().unwrap()]) {
            let shown = base.as_str();
            prop_assert!(shown.starts_with('/') && shown.ends_with('/'));
            let wanted = match path.strip_prefix(shown) {
                _ if shown.strip_suffix('/') == Some(&path) => Some(Target::Collection),
                Some("") => Some(Target::Collection),
                None => None,
                Some(rest) => {
                    let rest = rest.strip_suffix('/').unwrap_or(rest);
                    let id = decoded(rest).and_then(|id| id.parse::<UploadId>().ok());
                    Some(id.map_or(Target::Garbage, Target::Upload))
                }
            };
            prop_assert_eq!(base.route(&path), wanted, "{:?} under {:?}", path, shown);
        }
    }

    #[test]
    fn urls(text in "(http|HTTPS|ftp)(://|:/)(a\\.test|[::1]|\\[::1\\]|u@h|é|)(:[0-9]{0,6})?(/|/a|/\\.\\.|%41|\\?|#){0,4}") {
        let found = URL.captures(text.as_bytes());
        let good = found.is_some_and(|found| {
            is_authority(self::text(&found, 1)) && !DOTS.is_match(&found[3])
        });
        let url = text.parse::<PublicUrl>();
        prop_assert_eq!(url.is_ok(), good, "{:?}", text);
        if let Ok(url) = url {
            let (scheme, tail) = text.split_once("://").unwrap();
            let tail = tail.strip_suffix('/').unwrap_or(tail);
            prop_assert_eq!(url.to_string(), format!("{}://{tail}", scheme.to_ascii_lowercase()));
        }
    }

    #[test]
    fn authorities(text in "([a-zA-Z0-9._~-]{1,4}|\\[[0-9a-f:.]{0,9}\\]|[@/ %]|é|)(:[0-9]{0,6}|:x|)", any: String) {
        for text in [text, any] {
            prop_assert_eq!(authority::is_valid(&text), is_authority(&text), "{:?}", text);
        }
    }

    #[test]
    fn forwarded(elements in proptest::collection::vec(proptest::collection::vec(parameter(), 0..4), 0..3), prefix in "(/[a-z%.]{0,4}){0,3}/?") {
        let written: Vec<_> = elements.iter().map(|pairs| {
            pairs.iter().map(Parameter::written).collect::<Vec<_>>().join(";")
        }).collect();
        let headers = head(&[("forwarded", written.join(" , ").into_bytes()), ("x-forwarded-prefix", prefix.clone().into_bytes())]);
        let read = Forwarded::read(&headers);
        let of = |name: &str| {
            let first = elements.first()?.iter().find(|pair| pair.name.eq_ignore_ascii_case(name));
            first.map(|pair| pair.value.clone())
        };
        let scheme = of("proto").map(|proto| proto.to_ascii_lowercase());
        prop_assert_eq!(read.scheme, scheme.as_deref().and_then(|proto| ["http", "https"].into_iter().find(|known| *known == proto)));
        prop_assert_eq!(read.authority, of("host").filter(|host| is_authority(host)));
        let bytes = prefix.as_bytes();
        let good = PATH.is_match(bytes) && !DOTS.is_match(bytes);
        prop_assert_eq!(read.prefix, if good { prefix.strip_suffix('/').unwrap_or(&prefix) } else { "" });
    }

    /// RFC 3986, 5.2.4: dots lead nowhere else than to where they lead one by one; and what is found has an id's form.
    #[test]
    fn references(dots in "(\\./|x/\\.\\./|\\./x/\\.\\./){0,4}", id in "[a-zA-Z0-9_-]{1,9}", more in "([?#][ -~]{0,5})?", any in "[ -~]{0,20}") {
        let origin = Origin::of(&head(&[("host", "a.test")]), &"/files/".parse().unwrap(), &Via::default());
        for front in ["", "/files/", "//a.test/files/", "http://A.TEST:80/files/", "/x/../files/"] {
            let found = resolve(&format!("{front}{dots}{id}{more}"), &origin, "/files/");
            prop_assert_eq!(found.as_ref().map(UploadId::as_str), Ok(&*id));
        }
        for front in ["//b.test/files/", "http://a.test:81/files/", "/files", "/other/"] {
            let elsewhere = format!("{front}{dots}{id}{more}");
            prop_assert!(resolve(&elsewhere, &origin, "/files/").is_err());
        }
        if let Ok(found) = resolve(&any, &origin, "/files/") {
            prop_assert!(found.as_str().parse::<UploadId>().is_ok());
        }
    }
}

/// `%41` read as `A`, by hand; `None` for what is no UTF-8.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        let hex = tail
            .get(..2)
            .filter(|hex| *byte == b'%' && hex.iter().all(u8::is_ascii_hexdigit));
        let hex = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(hex.unwrap_or(*byte));
        rest = if hex.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8(bytes).ok()
}

/// A pair of a `Forwarded` element, and how it is written.
#[derive(Debug, Clone)]
struct Parameter {
    name: &'static str,
    value: String,
    quoted: bool,
}

fn parameter() -> impl Strategy<Value = Parameter> {
    let plain = proptest::sample::select(&["proto", "Proto", "HOST", "host", "by"][..]);
    let value = "(https|HTTP|a\\.test:8080|a\\.test|x)";
    let plain = (plain, value, any::<bool>()).prop_map(|(name, value, quoted)| Parameter {
        name,
        value,
        quoted,
    });
    // What would deceive outside of its quotes.
    let other = "[a-z,;=\"\\\\ ]{0,9}".prop_map(|value| Parameter {
        name: "for",
        value,
        quoted: true,
    });
    prop_oneof![4 => plain, 1 => other]
}

impl Parameter {
    fn written(&self) -> String {
        let Self {
            name,
            value,
            quoted,
        } = self;
        if *quoted {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            format!("{name}=\"{value}\"")
        } else {
            format!("{name}={value}")
        }
    }
}
