//! `GET /admin/uploads/active`: a page of uploads. Each page is one walk over the records that keeps the best few: nothing
//! is held between pages, and uploads that come and go meanwhile shift nothing.

use std::cmp::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::query::Query;
use crate::answer::{self, ResponseBody};
use crate::engine::{Engine, Label, Summary};
use crate::error::Reject;
use crate::meter::{KINDS, STATUSES, failure_code};
use crate::protocol::expires::rfc3339_millis;
use crate::upload::{Kind, Millis, Status, UploadId, UserId};

/// So many names are read beside each other.
const AT_ONCE: usize = 8;

/// What a list is sorted by. Uploads that are alike in it come in the order of their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Created,
    Touched,
    Offset,
    Length,
    Id,
}

const SORTS: [(&str, Sort); 5] = [
    ("created", Sort::Created),
    ("touched", Sort::Touched),
    ("offset", Sort::Offset),
    ("length", Sort::Length),
    ("id", Sort::Id),
];

impl Sort {
    fn value(self, upload: &Summary) -> u64 {
        match self {
            Self::Created => upload.record.created,
            Self::Touched => upload.record.touched,
            Self::Offset => upload.record.offset,
            Self::Length => upload.record.length.unwrap_or(0),
            Self::Id => 0,
        }
    }
}

/// A place in a list.
type Place = (u64, UploadId);

/// What is asked for.
#[derive(Debug)]
struct Ask {
    statuses: Vec<&'static str>,
    kinds: Vec<&'static str>,
    min_age: Option<u64>,
    max_age: Option<u64>,
    owner: Owner,
    sort: Sort,
    falling: bool,
    after: Option<Place>,
    limit: usize,
}

/// Whose uploads are asked for.
#[derive(Debug)]
enum Owner {
    Any,
    Nobody,
    User(UserId),
}

impl Owner {
    fn is(&self, owner: Option<&UserId>) -> bool {
        match self {
            Self::Any => true,
            Self::Nobody => owner.is_none(),
            Self::User(user) => owner == Some(user),
        }
    }
}

impl Ask {
    fn parse(text: &str) -> Result<Self, Reject> {
        let mut query = Query::parse(text)?;
        let statuses = match query.take("status").as_deref() {
            None => {
                let open = [Status::Active, Status::Scanning, Status::Assembling];
                open.map(Status::name).to_vec()
            }
            Some("all") => STATUSES.to_vec(),
            Some(list) => named("status", list, &STATUSES)?,
        };
        let all = KINDS.map(Kind::name);
        let kinds = match query.take("kind").as_deref() {
            None => all.to_vec(),
            Some(list) => named("kind", list, &all)?,
        };
        let (sort_name, sort) = match query.take("sort") {
            None => SORTS[0],
            Some(name) => {
                let known = SORTS.into_iter().find(|(known, _)| *known == name);
                known.ok_or(Reject::Query(
                    "sort",
                    "created, touched, offset, length or id",
                ))?
            }
        };
        let falling = match query.take("order").as_deref() {
            None => sort != Sort::Id,
            Some("desc") => true,
            Some("asc") => false,
            Some(_) => return Err(Reject::Query("order", "asc or desc")),
        };
        let age = "a whole number of seconds";
        let limit = query.limit()?;
        let cursor = query.take("cursor");
        let ask = Self {
            statuses,
            kinds,
            min_age: query.number("min_age", 0..=u64::MAX / 1000, age)?,
            max_age: query.number("max_age", 0..=u64::MAX / 1000, age)?,
            owner: query.take("user").map_or(Ok(Owner::Any), owner)?,
            sort,
            falling,
            after: cursor
                .map(|cursor| place(&cursor, sort_name, falling))
                .transpose()?,
            limit,
        };
        query.end()?;
        Ok(ask)
    }

    fn order(&self, one: &Place, other: &Place) -> Ordering {
        let order = one.cmp(other);
        if self.falling { order.reverse() } else { order }
    }

    fn wants(&self, upload: &Summary, now: Millis) -> bool {
        let record = &upload.record;
        let age = now.saturating_sub(record.created) / 1000;
        self.owner.is(record.owner.as_ref())
            && self.statuses.contains(&record.status.name())
            && self.kinds.contains(&record.kind.name())
            && self.min_age.is_none_or(|least| age >= least)
            && self.max_age.is_none_or(|most| age <= most)
    }
}

fn owner(text: String) -> Result<Owner, Reject> {
    if text == "null" {
        return Ok(Owner::Nobody);
    }
    let user = UserId::try_from(text);
    user.map(Owner::User)
        .map_err(|_| Reject::Query("user", "a user's id, or null"))
}

fn named(
    what: &'static str,
    list: &str,
    known: &[&'static str],
) -> Result<Vec<&'static str>, Reject> {
    let find = |name: &str| known.iter().find(|known| **known == name.trim()).copied();
    let names = list.split(',').map(find).collect::<Option<_>>();
    names.ok_or(Reject::Query(what, "not one that there is"))
}

/// The place that a cursor names. It holds for the order it was made in alone.
fn place(cursor: &str, sort: &str, falling: bool) -> Result<Place, Reject> {
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        let mut fields = text.splitn(4, ',');
        let same = fields.next()? == sort && fields.next()? == order_name(falling);
        let place = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        same.then_some(place)
    };
    read().ok_or(Reject::Query(
        "cursor",
        "not the next_cursor of a list in this order",
    ))
}

const fn order_name(falling: bool) -> &'static str {
    if falling { "desc" } else { "asc" }
}

fn cursor(ask: &Ask, (value, id): &Place) -> String {
    let sort = SORTS.iter().find(|(_, sort)| *sort == ask.sort);
    let sort = sort.map_or("", |(name, _)| name);
    URL_SAFE_NO_PAD.encode(format!("{sort},{},{value},{id}", order_name(ask.falling)))
}

/// The first few of all that are offered.
struct Best<'a> {
    ask: &'a Ask,
    kept: Vec<(Place, Summary)>,
    matching: u64,
}

impl Best<'_> {
    fn offer(&mut self, upload: Summary, now: Millis) {
        if !self.ask.wants(&upload, now) {
            return;
        }
        self.matching += 1;
        let place = (self.ask.sort.value(&upload), upload.id.clone());
        let late = |after: &Place| self.ask.order(&place, after) == Ordering::Greater;
        if self.ask.after.as_ref().is_none_or(late) {
            self.kept.push((place, upload));
        }
        // Sorted rarely, so that each upload costs little; bounded all the same.
        if self.kept.len() > 2 * self.ask.limit + 100 {
            self.trim();
        }
    }

    /// One more than the page is kept: it tells whether there is another page.
    fn trim(&mut self) {
        self.kept
            .sort_unstable_by(|(one, _), (other, _)| self.ask.order(one, other));
        self.kept.truncate(self.ask.limit + 1);
    }
}

pub(super) async fn answer(engine: &Engine, query: &str) -> Result<Response<ResponseBody>, Reject> {
    let ask = Ask::parse(query)?;
    let now = crate::engine::now();
    let mut best = Best {
        ask: &ask,
        kept: Vec::new(),
        matching: 0,
    };
    engine.walk(|upload| best.offer(upload, now)).await?;
    best.trim();
    let more = best.kept.len() > ask.limit;
    best.kept.truncate(ask.limit);
    let last = best.kept.last().filter(|_| more);
    let next = last.map(|(place, _)| cursor(&ask, place));
    let describe = async |(_, upload): &(Place, Summary)| {
        let label = engine.label(upload).await?;
        Ok::<Value, Reject>(described(upload, &label, now))
    };
    let uploads = stream::iter(best.kept.iter().map(describe));
    let uploads: Vec<Value> = uploads.buffered(AT_ONCE).try_collect().await?;
    Ok(answer::json(
        StatusCode::OK,
        &json!({ "uploads": uploads, "matching": best.matching, "next_cursor": next }),
    ))
}

/// An upload as JSON.
pub(super) fn described(upload: &Summary, label: &Label, now: Millis) -> Value {
    let record = &upload.record;
    let failure = match record.status {
        Status::Failed(failure) => Some(failure_code(failure)),
        _ => None,
    };
    json!({
        "id": upload.id.as_str(),
        "filename": label.filename,
        "kind": record.kind.name(),
        "session": label.session,
        "status": record.status.name(),
        "failure": failure,
        "user_id": record.owner,
        "offset": record.offset,
        "length": record.length,
        "receiving": upload.receiving,
        "created_at": rfc3339_millis(record.created),
        "touched_at": rfc3339_millis(record.touched),
        "expires_at": record.expires.map(rfc3339_millis),
        "age_seconds": now.saturating_sub(record.created) / 1000,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upload::{Kind, Record};

    fn upload(id: &str, created: Millis, offset: u64) -> Summary {
        Summary {
            id: id.parse().unwrap(),
            record: Record {
                offset,
                ..Record::new(Kind::Plain, Some(1000), created)
            },
            receiving: false,
        }
    }

    #[test]
    fn pages_in_every_order_make_the_whole() {
        let all: Vec<Summary> = (0..1000u64)
            .map(|n| upload(&format!("u{n}"), n * 7919 % 100, n % 3))
            .collect();
        for (sort, _) in SORTS {
            for order in ["asc", "desc"] {
                let mut seen = Vec::new();
                let mut after = String::new();
                loop {
                    let ask = format!("sort={sort}&order={order}&limit=37{after}");
                    let ask = Ask::parse(&ask).unwrap();
                    let (kept, matching) = (Vec::new(), 0);
                    let mut best = Best {
                        ask: &ask,
                        kept,
                        matching,
                    };
                    all.iter().cloned().for_each(|u| best.offer(u, 0));
                    best.trim();
                    assert_eq!(best.matching, 1000);
                    let page: Vec<_> = best.kept.into_iter().take(37).map(|(at, _)| at).collect();
                    let Some(last) = page.last() else { break };
                    after = format!("&cursor={}", cursor(&ask, last));
                    seen.extend(page);
                }
                let mut sorted = seen.clone();
                sorted.sort();
                if order == "desc" {
                    sorted.reverse();
                }
                assert_eq!(seen, sorted, "{sort} {order}");
                sorted.dedup();
                assert_eq!(sorted.len(), 1000, "{sort} {order}");
            }
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        let right = URL_SAFE_NO_PAD.encode("created,desc,5,abc");
        assert!(Ask::parse(&format!("cursor={right}")).is_ok());
        for bad in [
            format!("cursor={right}&order=asc"),
            format!("cursor={right}&sort=offset"),
            format!("cursor={}", URL_SAFE_NO_PAD.encode("created,desc,5,../x")),
            format!("cursor={}", URL_SAFE_NO_PAD.encode("created,desc,-5,abc")),
            format!("cursor={}", URL_SAFE_NO_PAD.encode("created,desc,5")),
            format!("cursor={}", URL_SAFE_NO_PAD.encode(b"\xff\xfe")),
            "cursor=".into(),
            "cursor=%00".into(),
            "limit=0".into(),
            "limit=1001".into(),
            "limit=99999999999999999999999".into(),
            "limit=ten".into(),
            "sort=size".into(),
            "order=up".into(),
            "status=open".into(),
            "status=".into(),
            "kind=plain,other".into(),
            "min_age=-1".into(),
            "stauts=active".into(),
            "limit=1&limit=2".into(),
        ] {
            let refused = Ask::parse(&bad).unwrap_err();
            assert_eq!(refused.wire(), (400, "bad-query"), "{bad}");
        }
    }
}
