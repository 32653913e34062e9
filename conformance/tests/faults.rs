//! The runner is worth something: each MUST has a fault of the reference server that makes its case fail, and few others; and
//! without a fault every case passes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::thread;
use std::time::UNIX_EPOCH;

use tus_conformance::case::{Case, Level};
use tus_conformance::cases;
use tus_conformance::reference::{Fault, Flaw, Reference};
use tus_conformance::run::{Tried, Verdict, look_at, run};
use tus_conformance::target::Url;

/// How many other cases a fault may make fail.
const FEW: usize = 12;
/// Faults tried at once: a run waits more than it works.
const AT_ONCE: usize = 6;
/// One fault in so many is tried with the cases that are not about it too; all of them with `HIGHWATER_TEST_LONG`, which takes
/// some minutes.
const SAMPLE: usize = 12;

fn tried(fault: Option<Fault>, cases: &[&'static Case]) -> Vec<Tried> {
    let reference = Reference::start(fault).expect("a port on loopback");
    let url = Url::parse(&reference.url()).expect("a URL");
    let server = look_at(&url, &[]).expect("it answers");
    run(&server, cases)
}

fn every() -> Vec<&'static Case> {
    cases::all().collect()
}

#[test]
fn the_list_holds_together() {
    let cases = every();
    let ids: BTreeSet<_> = cases.iter().map(|case| case.id).collect();
    assert_eq!(ids.len(), cases.len(), "an id is used twice");
    let clauses: BTreeSet<_> = cases.iter().map(|c| (c.section, c.clause)).collect();
    assert!(clauses.len() >= 200, "{} distinct clauses", clauses.len());
    for flaw in Flaw::ALL {
        let is_meant = |case: &&Case| case.fault == Some(Fault::Flaw(*flaw));
        assert!(cases.iter().any(is_meant), "{flaw:?} has no case");
    }
    for case in cases {
        let id = case.id;
        let shaped = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
        assert!(id.chars().all(shaped) && id.contains('.'), "{id}");
        assert!(case.clause.len() > 10 && !case.section.is_empty(), "{id}");
        assert!(case.level != Level::Must || case.fault.is_some(), "{id}");
    }
}

#[test]
fn without_a_fault_every_case_passes() {
    let wrong: Vec<String> = tried(None, &every())
        .iter()
        .filter(|one| one.verdict != Verdict::Pass)
        .map(|one| format!("{:?} {}: {}", one.verdict, one.case.id, one.why))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_fault_is_found_by_its_case_and_by_few_others() {
    // What cases share a fault: none of them is an "other" one.
    let mut meant: BTreeMap<String, (Fault, Vec<&'static Case>)> = BTreeMap::new();
    for case in cases::all() {
        if let Some(fault) = case.fault {
            let entry = meant.entry(format!("{fault:?}"));
            entry.or_insert((fault, Vec::new())).1.push(case);
        }
    }
    // Another sample every day; the same one all day, so that a failure can be looked at.
    let days = UNIX_EPOCH.elapsed().expect("after 1970").as_secs() / 86_400;
    let chosen = usize::try_from(days).expect("days") % SAMPLE;
    let all = std::env::var_os("HIGHWATER_TEST_LONG").is_some();
    let todo = Mutex::new(meant.into_values().enumerate());
    let wrong = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = todo.lock().expect("no panic").next();
                    let Some((n, (fault, meant))) = next else {
                        return;
                    };
                    let others = all || n % SAMPLE == chosen;
                    let found = mistakes(fault, &meant, others);
                    wrong.lock().expect("no panic").extend(found);
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a fault should not have done. Of the other cases, those that take seconds are left out.
fn mistakes(fault: Fault, meant: &[&'static Case], others: bool) -> Vec<String> {
    let is_meant = |case: &Case| meant.iter().any(|other| other.id == case.id);
    let mut cases = every();
    cases.retain(|case| is_meant(case) || (others && !case.slow));
    let tried = tried(Some(fault), &cases);
    let (own, others): (Vec<_>, Vec<_>) = tried.iter().partition(|one| is_meant(one.case));
    let mut wrong = Vec::new();
    for one in own {
        let expected = match one.case.level {
            Level::Must => Verdict::Fail,
            Level::Should => Verdict::Warn,
            Level::May => Verdict::Skip,
        };
        if one.verdict != expected {
            let (id, verdict, why) = (one.case.id, one.verdict.name(), &one.why);
            wrong.push(format!(
                "a server that [{fault}]: {verdict} {id}, {why:?} instead of {expected:?}"
            ));
        }
    }
    let failed: Vec<&str> = others
        .iter()
        .filter(|one| one.verdict == Verdict::Fail)
        .map(|one| one.case.id)
        .collect();
    if failed.len() > FEW {
        let n = failed.len();
        wrong.push(format!(
            "a server that [{fault}] fails {n} others: {failed:?}"
        ));
    }
    wrong
}
