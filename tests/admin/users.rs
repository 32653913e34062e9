//! `GET /admin/users` in pages.

use std::fmt::Write as _;

use highwater::config::AuthMode;
use serde_json::Value;

use super::json;
use crate::identity::As;
use crate::support::{Client, Reply, start_with};

const TOKEN: &str = "a-token-of-the-tests";

async fn ask(client: &Client, path: &str) -> Reply {
    client.request("GET", path).bearing(TOKEN).send().await
}

async fn told(client: &Client, path: &str) -> Value {
    let reply = ask(client, path).await;
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
    json(&reply)
}

fn name(user: &Value) -> Option<String> {
    user["user_id"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn pages_of_users_make_the_whole() {
    let mut server = start_with(|_| {}).await;
    server.create(5).await;
    let mut names = vec![None];
    let mut file = String::new();
    // Names that a list, a cursor or a query could take for something else.
    let odd = ["-", "=", "a&limit=1", "jürgen, x", "null"].map(str::to_owned);
    for (n, id) in (0..120).map(|n| format!("user {n}")).chain(odd).enumerate() {
        let token = format!("token-of-some-length-{n}");
        writeln!(file, "[[user]]\nid = {id:?}\ntoken = \"{token}\"").expect("written");
        names.push(Some(id));
    }
    names.sort();
    let path = server.data().with_file_name("users.toml");
    std::fs::write(&path, file).expect("it is written");
    server
        .change(|config| {
            config.auth.auth = AuthMode::Token;
            config.auth.auth_file = Some(path);
            config.admin_token = TOKEN.parse().ok();
        })
        .await;
    for limit in [1, 7, 63, 126, 1000] {
        let mut seen = Vec::new();
        let mut after = String::new();
        loop {
            let page = told(&server, &format!("/admin/users?limit={limit}{after}")).await;
            assert_eq!(page["matching"], 126);
            let users = page["users"].as_array().expect("users");
            assert!(users.len() <= limit && !users.is_empty());
            seen.extend(users.iter().map(name));
            let Some(next) = page["next_cursor"].as_str() else {
                break;
            };
            after = format!("&cursor={next}");
        }
        assert_eq!(seen, names, "{limit}");
    }
    let first = told(&server, "/admin/users").await;
    let count = |page: &Value| page["users"].as_array().map(Vec::len);
    assert_eq!(count(&first), Some(100));
    let next = first["next_cursor"].as_str().expect("there are more");
    let rest = told(&server, &format!("/admin/users?cursor={next}")).await;
    assert_eq!(
        (count(&rest), &rest["next_cursor"]),
        (Some(26), &Value::Null)
    );
    for bad in [
        "cursor=x",
        "cursor=",
        "limit=0",
        "limit=1001",
        "user=a",
        "limit=1&limit=1",
    ] {
        let reply = ask(&server, &format!("/admin/users?{bad}")).await;
        assert_eq!((reply.status, reply.code.as_str()), (400, "bad-query"));
    }
}
