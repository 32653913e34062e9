//! Attacks, through real sockets: what somebody out to hurt would send, and what must happen. What follows is the index of all of
//! them; those that belong to a concern of their own lie there, and are named here.
//!
//! **Foreign ids.** On every path by every method, in every state, another's upload is byte for byte what was never there (but for
//! the date and the request's number), and is not changed.
//! - `attacks::foreign::on_every_path_by_every_method`: open, complete, part, final, waiting final, session; with every header that
//!   is looked at sooner or later, wrong and right, methods by override too.
//! - `attacks::foreign::when_it_has_ended`: terminated, cancelled, expired; 410 is its owner's alone.
//! - `attacks::foreign::as_a_part`: `Upload-Concat`, alone and among one's own; 400, nothing is created.
//! - `attacks::foreign::in_a_stream_of_events`; `identity::attacks::what_is_anothers_is_not_there`: by WebSocket.
//! - `attacks::foreign::hooks_are_not_asked_of_it`: what they say would tell.
//! - `identity::attacks::foreign_and_unknown_ids_take_the_same_time`: less than a millisecond apart.
//! - `identity::attacks::without_a_credential_no_door_tells_anything`: 401 for both, before the body.
//! - `identity::attacks::a_sessions_token_opens_that_session_and_nothing_else`; `sessions::bad_input::a_session_is_its_owners_alone`;
//!   `progress::misuse::a_session_is_followed_with_its_token_alone`.
//! - `identity::who_owns_it_survives_a_restart_and_the_loss_of_the_records`.
//!
//! **Tokens.** Whatever is wrong with one, it is nobody's: 401 at every door, without a word of why.
//! - `attacks::tokens::of_a_secret`: `alg` none in every spelling, another one, or twice; `crit`; a key that the token brings along or
//!   points to; wrong key, audience, issuer; over, not yet, without an end; a claim twice; no object, or a deep one.
//! - `attacks::tokens::of_a_public_key`: HS256 by the bytes of the public key, in every form of it.
//! - `attacks::tokens::of_a_set_of_keys`: `kid` of another key, of none, or of a file.
//! - `identity::a_signed_token_is_a_user`, `identity::attacks::tokens_that_lie`: two credentials are none; huge ones.
//! - `security::auth::jwt::tests::the_algorithm_is_the_keys`: nor is a public key ever taken for a secret.
//! - `identity::a_proxy_names_the_user`: a name from whoever is no proxy, or two names, are none.
//! - `quotas::rates::credentials_cannot_be_tried_at_any_rate`; `progress::misuse::tokens_never_reach_the_log`.
//! - `admin::access::a_token_is_asked_for_where_there_is_one`, `admin::access::without_a_token_it_is_hidden_from_proxies_and_rebound_names`.
//!
//! **Path traversal.** A name becomes an id or is refused before it comes near a path; all else is only text.
//! - `invariants::names::invariant_9_no_name_leads_out_of_the_data_directory`: ids in URLs and in `Upload-Concat`.
//! - `invariants::names::invariant_9_a_file_name_is_only_metadata`, `attacks::paths::of_files`: every key of metadata, at both doors.
//! - `attacks::paths::of_sessions_and_of_what_is_watched`: 400, 404 or 405 at every other door, and no bytes of any file.
//! - `attacks::paths::of_users`: a user may be called anything, and is nobody else.
//! - `attacks::paths::of_hooks`: what hooks choose (500 `hook-failed`) and what they tell.
//! - `hooks::ask::a_name_that_is_taken_or_leads_elsewhere_is_no_name`; `pages::files_are_read_and_nothing_else`.
//!
//! **Smuggling.** What follows a body is never taken for part of it, nor a body for a request: refused and closed, or taken by the one
//! reading that RFC 9112 leaves.
//! - `attacks::smuggling::by_lengths`, `attacks::smuggling::by_length_and_coding`, `attacks::smuggling::by_codings`: two lengths, length and
//!   coding (the coding alone, and then closed), codings hidden or piled up.
//! - `attacks::smuggling::by_folds_and_bytes_in_a_head`: obs-fold, NUL, lone CR and LF, a field twice.
//! - `attacks::smuggling::by_chunks`: sizes, extensions, line ends; trailers that name fields of the head change nothing.
//! - `attacks::smuggling::by_bodies_that_nobody_reads`, `attacks::smuggling::by_what_is_said_back`: no header of the client's making.
//! - `attacks::http2::lengths_and_fields_of_a_connection_are_no_way_around`, `attacks::http2::trailers_change_nothing_of_the_head`;
//!   `attacks::http2::a_host_beside_another_authority`: 400.
//! - `protocol::a_host_is_named_once_and_can_be_one`, `protocol::a_body_in_a_transfer_coding_that_nobody_takes_off_is_not_stored`.
//! - `fuzz::heads_by_chance`: heads made of all of these; and the conformance runner's cases `http.*`.
//!
//! **Slowness.** It ends when a silence is longer than it may be, and costs others nothing until then.
//! - `survival::slow::a_thousand_slow_heads_are_cut`, `survival::slow::a_thousand_slow_bodies_are_borne`.
//! - `server::tests::bounds::a_head_that_does_not_come_ends_its_connection`; `tls::a_handshake_that_does_not_end_is_ended`.
//! - `attacks::slow::downloads_that_nobody_reads_are_ended`.
//! - `progress::latency::those_who_never_read_cost_bounded_memory_and_slow_no_upload`; `progress::misuse::one_that_answers_no_ping_is_gone`.
//! - `limits::without_a_file_for_a_connection_accepting_rests_and_goes_on`, `quotas::rates::an_address_has_so_many_connections`.
//!
//! **Oversized.** Refused as soon as it is known to be too much; memory stays.
//! - `attacks::oversized::heads`: line 414; fields, names and values past 408 KiB 431.
//! - `attacks::oversized::fields`: 100,000 parts, a part so often that the final is too large, numbers, metadata, ranges.
//! - `attacks::oversized::credentials`, `attacks::oversized::json_of_a_session`: deep, long, endless.
//! - `attacks::oversized::bodies`: no longer than an upload may be, of whatever announced length; `heads::too_large_is_told_from_the_head_alone`.
//! - `attacks::oversized::messages_of_a_websocket`: 1009 past 16 KiB in one frame or in thousands; `progress::misuse::frames_that_are_none_end_the_connection_with_a_code`,
//!   `progress::misuse::a_connection_follows_so_many_and_no_more`.
//! - `attacks::http2::frames_without_an_end_cost_their_own_connection`: continuations, resets, a head that unpacks, empty frames, pings.
//!
//! **Origins.** A page of an origin that is not on the list reads nothing and opens nothing, however alike it looks.
//! - `attacks::origins::that_look_like_one_of_the_list`, `attacks::origins::that_look_like_the_servers_own`: no
//!   `Access-Control-Allow-Origin`; 403 `foreign-origin` to a WebSocket, a stream and a form.
//! - `attacks::origins::with_the_visitors_own_cookie`: where a proxy names the user.
//! - `web::origins_are_matched_whole`, `sessions::door::pages_of_origins_that_are_not_allowed_begin_nothing`,
//!   `progress::misuse::pages_of_other_origins_are_held_against_the_cors_list`, `progress::all::no_other_token_and_no_other_page_follows_all`,
//!   `admin::access::no_page_of_another_origin_changes_or_reads_anything`.
//!
//! **Races.** Of a hundred at once as many go through as there is room for, not one more and not one less.
//! - `quotas::races::a_hundred_creations_at_once_fill_the_quota_exactly`, `quotas::races::a_hundred_sessions_at_once_fill_the_quota_exactly`,
//!   `quotas::races::a_hundred_creations_at_once_open_no_more_than_may_be_open`, `quotas::races::a_hundred_joins_of_one_part_are_each_charged`,
//!   `quotas::races::bodies_of_unknown_length_at_once_stop_at_the_quota_together`.
//! - `hooks::ask::two_creations_of_one_name_make_one_upload`.
//!
//! **Hooks.** One that hangs, lies or floods costs the request that asked, in its time; nothing is made that it did not agree to.
//! - `hooks::misbehave::a_creation_fails_whose_hook_does`, `hooks::misbehave::while_one_hangs_everybody_else_goes_on`,
//!   `hooks::misbehave::a_refusal_with_a_status_that_is_none_is_a_refusal`, `hooks::ask::access_is_asked_for_each_request_and_a_silence_is_no_leave`.
//! - `attacks::receivers::answers_that_are_none`: heads, bodies and trailers without an end, at once or drop by drop; cut; other protocols.
//! - `attacks::receivers::redirects_are_not_followed`.
//! - `hooks::files::a_script_that_hangs_or_floods_is_killed_with_all_it_started`, `attacks::receivers::programs_that_fork_away`.
//! - `hooks::wire::tests::lies_are_refused`; `hooks::scan::a_receiver_that_fails_gives_no_verdict`.
//!
//! **Files.** What they are called and what they say that they are: `content::names::names_are_refused_and_nothing_is_made`,
//! `content::sniffing::a_mismatch_is_refused_at_once_and_nothing_is_kept`, `content::scanning::the_completing_request_has_the_verdict`,
//! `content::scanning::a_lost_database_gives_nothing_out_unscanned`.

mod foreign;
mod http2;
mod origins;
mod oversized;
mod paths;
mod receivers;
mod slow;
mod smuggling;
mod tokens;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The source of a module of the tests or of the server.
fn source(module: &str) -> Option<String> {
    let path = module.replace("::", "/");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |tree: &str| fs::read_to_string(root.join(tree).join(&path).with_extension("rs"));
    let own = |tree: &str| {
        // Tests in the file of what they test.
        let file = path.strip_suffix("/tests")?;
        fs::read_to_string(root.join(tree).join(file).with_extension("rs")).ok()
    };
    read("tests")
        .or_else(|_| read("src"))
        .ok()
        .or_else(|| own("src"))
}

/// The names between backticks in the index that lead to a test.
fn named() -> BTreeSet<String> {
    let text = include_str!("attacks.rs");
    let index: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("//!"))
        .collect();
    let index = index.join("\n");
    let names = index.split('`').skip(1).step_by(2);
    names
        .filter(|name| name.contains("::"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_index_names_tests_that_there_are() {
    let named = named();
    assert!(named.len() > 60, "{named:?}");
    for name in named {
        let (module, test) = name.rsplit_once("::").expect("a path");
        let source = source(module).unwrap_or_else(|| panic!("there is no module {module}"));
        assert!(
            source.contains(&format!("fn {test}(")),
            "there is no {name}"
        );
    }
}

#[test]
fn the_index_names_all_of_these() {
    let named = named();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks");
    let mut found = 0;
    for file in fs::read_dir(dir).expect("the modules").flatten() {
        let source = fs::read_to_string(file.path()).expect("a source");
        let module = file
            .path()
            .file_stem()
            .expect("a name")
            .display()
            .to_string();
        // A test's attribute, and the line of its name.
        for after in source.split("test").skip(1) {
            let Some((end, rest)) = after.split_once("]\n") else {
                continue;
            };
            let name = rest.strip_prefix("async fn ").or(rest.strip_prefix("fn "));
            if let (false, Some(name)) = (end.contains('\n'), name) {
                let name = name.split('(').next().unwrap_or_default();
                let path = format!("attacks::{module}::{name}");
                assert!(named.contains(&path), "{path} is not in the index");
                found += 1;
            }
        }
    }
    assert!(found > 25, "{found}");
}
