//! The committed Rust code is what the schema generates. `TOMBOLO_BLESS=1` writes it anew.
#![allow(clippy::unwrap_used)]

#[test]
fn generated_code_matches_the_schema() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors = protox::compile([root.join("schema/tombolo.proto")], [root.join("schema")]).unwrap();
    let out = tempfile::tempdir().unwrap();
    let mut config = prost_build::Config::new();
    config.btree_map(["."]).out_dir(out.path());
    config.compile_fds(descriptors).unwrap();
    let fresh = std::fs::read_to_string(out.path().join("tombolo.v1.rs")).unwrap();
    let committed = root.join("src/wire/tombolo.v1.rs");
    if std::env::var_os("TOMBOLO_BLESS").is_some() {
        std::fs::write(&committed, &fresh).unwrap();
    }
    let kept = std::fs::read_to_string(&committed).unwrap();
    assert!(kept == fresh, "src/wire/tombolo.v1.rs is stale; write it anew: TOMBOLO_BLESS=1 cargo test -p proto --test schema");
}
