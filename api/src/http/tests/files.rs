//! `[api] static`: what is served beside the API, and what never is.

use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;

const PAGE: &str = "<!doctype html><title>Till</title>";

/// A folder of pages next to a secret.
fn folder(scratch: &Path) -> std::path::PathBuf {
    let pages = scratch.join("pages");
    for folder in ["till", "empty", ".git", "v1"] {
        std::fs::create_dir_all(pages.join(folder)).unwrap();
    }
    std::fs::create_dir(scratch.join("secrets")).unwrap();
    std::fs::write(scratch.join("secrets/key"), "secret").unwrap();
    for (name, text) in [("index.html", PAGE), ("till/index.html", PAGE), ("app.js", "1"), (".env", "secret"), (".git/config", "secret")] {
        std::fs::write(pages.join(name), text).unwrap();
    }
    std::fs::write(pages.join("v1/status"), "secret").unwrap();
    std::fs::write(pages.join("healthz"), "secret").unwrap();
    symlink(scratch.join("secrets/key"), pages.join("key")).unwrap();
    symlink(scratch.join("secrets"), pages.join("out")).unwrap();
    symlink("app.js", pages.join("inner.js")).unwrap();
    pages
}

#[tokio::test]
async fn pages_are_served_without_a_token_and_the_api_is_not() {
    let scratch = tempfile::tempdir().unwrap();
    let api = Api::with_files(&folder(scratch.path()));
    for path in ["/", "/index.html", "/till/", "/till/?x=1"] {
        let page = api.get(path).answer().await;
        assert_eq!((page.status.as_u16(), page.body.as_str()), (200, PAGE), "{path}");
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert!(page.header("content-security-policy").contains("frame-ancestors 'self'"));
    }
    assert_eq!(api.get("/app.js").answer().await.header("content-type"), "text/javascript; charset=utf-8");
    let head = api.ask(Method::HEAD, "/").answer().await;
    assert_eq!((head.body.as_str(), head.header("content-length")), ("", PAGE.len().to_string().as_str()));
    let moved = api.get("/till?x=1").answer().await;
    assert_eq!((moved.status.as_u16(), moved.header("location")), (308, "/till/?x=1"));
    api.get("/v1/status").answer().await.refused(401, "unauthorized");
    api.get("/v1/nothing").answer().await.refused(401, "unauthorized");
    assert_eq!(api.get("/healthz").answer().await.body, "ok\n");
    api.post("/app.js", "{}").answer().await.refused(405, "method_not_allowed");
    let foreign = api.get("/").header("origin", "https://evil.example").answer().await;
    foreign.refused(403, "origin");
    let misdirected = api.get("/").without("host").header("host", "evil.example").answer().await;
    misdirected.refused(421, "host");
}

#[tokio::test]
async fn nothing_outside_of_the_folder_is_served() {
    let scratch = tempfile::tempdir().unwrap();
    let api = Api::with_files(&folder(scratch.path()));
    let outside = [
        "/../secrets/key",
        "/till/../../secrets/key",
        "/%2e%2e/secrets/key",
        "/%2E%2E%2Fsecrets%2Fkey",
        "/..%2fsecrets/key",
        "/..%5csecrets%5ckey",
        "/%252e%252e/secrets/key",
        "//secrets/key",
        "/key",
        "/out/key",
        "/out/",
        "/inner.js",
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/till/./index.html",
        "/app.js/",
        "/app.js/x",
        "/app.js%00",
        "/empty",
        "/empty/",
        "/nothing",
    ];
    for path in outside {
        let answer = api.get(path).answer().await;
        answer.refused(404, "not_found");
        assert!(!answer.body.contains("secret\""), "{path}: {}", answer.body);
    }
    let long = format!("/{}", "a".repeat(5_000));
    api.get(&long).answer().await.refused(404, "not_found");
}

#[tokio::test]
async fn a_page_that_is_known_is_not_sent_again() {
    let scratch = tempfile::tempdir().unwrap();
    let pages = folder(scratch.path());
    let api = Api::with_files(&pages);
    let first = api.get("/app.js").answer().await;
    let (tag, changed) = (first.header("etag").to_owned(), first.header("last-modified").to_owned());
    for (name, value) in [("if-none-match", tag.as_str()), ("if-none-match", "W/\"x\", *"), ("if-modified-since", &changed)] {
        let again = api.get("/app.js").header(name, value).answer().await;
        assert_eq!((again.status.as_u16(), again.body.as_str(), again.header("etag")), (304, "", tag.as_str()), "{name}: {value}");
    }
    // The tag goes before the time.
    let other = api.get("/app.js").header("if-none-match", "\"x\"").header("if-modified-since", &changed).answer().await;
    assert_eq!(other.status, 200);
    std::fs::write(pages.join("app.js"), "22").unwrap();
    let new = api.get("/app.js").header("if-none-match", &tag).answer().await;
    assert_eq!((new.status.as_u16(), new.body.as_str()), (200, "22"));
}

#[tokio::test]
async fn a_large_file_comes_in_pieces_and_whole() {
    let scratch = tempfile::tempdir().unwrap();
    let pages = folder(scratch.path());
    let text = "0123456789".repeat(30_000);
    std::fs::write(pages.join("large.txt"), &text).unwrap();
    let answer = Api::with_files(&pages).get("/large.txt").answer().await;
    assert_eq!(answer.header("content-length"), text.len().to_string());
    assert_eq!(answer.body, text);
}
