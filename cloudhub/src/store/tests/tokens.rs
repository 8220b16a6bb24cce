//! Join tokens and access tokens.

use super::bench::{Bench, Fixture, name, node};
use crate::store::{AccessTokenRow, Answer, Job, Refused, StoreRead, TokenRefused};

pub(super) fn tokens_are_used_up_and_expire<F: Fixture>() {
    let mut bench = Bench::<F>::new();
    let hash = bench.token(Some("lyon"), &[("site", "lyon")], false);
    let now_ms = bench.now_ms;
    assert_eq!(bench.reader().join_tokens(now_ms).unwrap().len(), 1);
    assert_eq!(bench.reader().may_join(&hash, None, now_ms).unwrap(), Ok(node("lyon")));
    let other = bench.join_with(hash, Some("oslo"), "s").unwrap_err();
    assert_eq!(other, Refused::Token(TokenRefused::OtherNode));
    let Answer::Joined { labels, .. } = bench.join_with(hash, Some("lyon"), "s").unwrap() else { panic!("not joined") };
    assert_eq!(labels["site"], "lyon");
    assert_eq!(bench.join_with(hash, None, "s").unwrap_err(), Refused::Token(TokenRefused::UsedUp));
    assert_eq!(bench.join_with([99; 32], None, "s").unwrap_err(), Refused::Token(TokenRefused::Unknown));

    let late = bench.token(Some("oslo"), &[], false);
    bench.now_ms += 61_000;
    assert_eq!(bench.join_with(late, None, "s").unwrap_err(), Refused::Token(TokenRefused::Expired));
    let now_ms = bench.now_ms;
    assert!(bench.reader().join_tokens(now_ms).unwrap().is_empty());

    let revoked = bench.token(Some("oslo"), &[], false);
    bench.done(Job::RevokeJoinToken { id: "t3".to_owned() });
    assert_eq!(bench.join_with(revoked, None, "s").unwrap_err(), Refused::Token(TokenRefused::Unknown));
    assert!(matches!(bench.job(Job::RevokeJoinToken { id: "t3".to_owned() }), Err(Refused::NotFound { .. })));
}

pub(super) fn names_are_taken_once<F: Fixture>() {
    let mut bench = Bench::<F>::new();
    bench.join("lyon", &[("site", "lyon")]);
    let hash = bench.token(None, &[("site", "oslo")], false);
    assert!(matches!(bench.join_with(hash, None, "s"), Err(Refused::BadRequest(_))));
    let refused = bench.join_with(hash, Some("lyon"), "s").unwrap_err();
    assert!(matches!(&refused, Refused::NameTaken { node: taken, .. } if *taken == node("lyon")));
    assert!(refused.to_string().contains("cloudhub token create --node lyon --replace"));
    bench.join_with(hash, Some("oslo"), "s").unwrap();
    let names: Vec<_> = bench.reader().nodes(None, 10).unwrap().into_iter().map(|row| row.name).collect();
    assert_eq!(names, [node("lyon"), node("oslo")]);
    assert_eq!(bench.reader().nodes(Some(&node("lyon")), 10).unwrap().len(), 1);
}

pub(super) fn access_tokens_end<F: Fixture>() {
    let mut bench = Bench::<F>::new();
    let token = |id: &str, expires_ms| AccessTokenRow {
        id: id.to_owned(),
        name: "till".to_owned(),
        role: "editor".to_owned(),
        collections: Some(vec![name("orders")]),
        created_ms: 5,
        expires_ms,
    };
    let now_ms = bench.now_ms + 100;
    bench.done(Job::NewAccessToken(Box::new(token("a", None)), [1; 32]));
    bench.done(Job::NewAccessToken(Box::new(token("b", Some(now_ms))), [2; 32]));
    let found = bench.reader().access_token(&[2; 32], now_ms - 1).unwrap();
    assert_eq!(found, Some(token("b", Some(now_ms))));
    assert_eq!(bench.reader().access_token(&[2; 32], now_ms).unwrap(), None);
    assert_eq!(bench.reader().access_tokens(now_ms).unwrap(), [token("a", None)]);
    bench.done(Job::RevokeAccessToken { id: "a".to_owned() });
    assert_eq!(bench.reader().access_token(&[1; 32], now_ms).unwrap(), None);
}
