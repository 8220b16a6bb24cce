#![allow(clippy::unwrap_used)]

use alloc::string::ToString;
use alloc::vec::Vec;
use alloc::{format, vec};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};

use super::Schema;
use crate::limits::{SCHEMA_DEPTH, SCHEMA_NODES, SCHEMA_STEPS};

fn said(schema: &Value, value: &Value) -> Option<alloc::string::String> {
    Schema::compile(schema).unwrap().judge_json(value).map(|violation| format!("[{}] {}", violation.field, violation.message))
}

#[test]
fn a_violation_names_its_field_and_what_was_expected() {
    let schema = json!({
        "required": ["Name"], "additionalProperties": false, "dependentRequired": {"Price": ["Currency"]},
        "properties": {
            "Name": {"type": "string", "minLength": 1, "maxLength": 5},
            "Price": {"type": ["number", "null"], "minimum": 0, "exclusiveMaximum": 100, "multipleOf": 0.01},
            "Currency": {"enum": ["EUR", "USD"]},
            "Code": {"pattern": "^[A-Z]{2}-\\d+$"},
            "Tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3, "uniqueItems": true},
            "Address": {"type": "object", "required": ["City"]},
        },
    });
    for (value, expected) in [
        (json!({}), "[Name] Name: is missing"),
        (json!({"Name": 7}), "[Name] Name: expected string, found 7"),
        (json!({"Name": ""}), "[Name] Name: expected at least 1 characters, found 0"),
        (json!({"Name": "äöüßéè"}), "[Name] Name: expected at most 5 characters, found 6"),
        (json!({"Name": "a", "Price": 1}), "[Currency] Currency: is missing"),
        (json!({"Name": "a", "Currency": "EUR", "Price": -1}), "[Price] Price: expected at least 0, found -1"),
        (json!({"Name": "a", "Currency": "EUR", "Price": 100.0}), "[Price] Price: expected less than 100, found 100.0"),
        (json!({"Name": "a", "Currency": "EUR", "Price": 0.005}), "[Price] Price: expected a multiple of 0.01, found 0.005"),
        (json!({"Name": "a", "Currency": "CHF"}), "[Currency] Currency: expected \"EUR\" or \"USD\", found \"CHF\""),
        (json!({"Name": "a", "Code": "A-1"}), "[Code] Code: expected text like ^[A-Z]{2}-\\d+$, found \"A-1\""),
        (json!({"Name": "a", "Tags": ["a", 1]}), "[Tags] Tags/1: expected string, found 1"),
        (json!({"Name": "a", "Tags": ["a", "b", "a"]}), "[Tags] Tags: expected items that differ, found \"a\" twice"),
        (json!({"Name": "a", "Address": {}}), "[Address] Address/City: is missing"),
        (json!({"Name": "a", "Nmae": 1}), "[Nmae] Nmae: is not allowed"),
    ] {
        assert_eq!(said(&schema, &value).as_deref(), Some(expected), "{value}");
    }
    let good = json!({"Name": "tea", "Price": 0.3, "Currency": "EUR", "Code": "AB-12", "Tags": [], "Address": {"City": "x"}});
    assert_eq!(said(&schema, &good), None);
}

#[test]
fn what_is_no_schema_is_refused_with_its_place() {
    for (schema, expected) in [
        (json!(3), "#: a schema is an object, true or false"),
        (json!({"properties": {"a/b": {"type": "text"}}}), "#/properties/a~1b/type: null, boolean,"),
        (json!({"minimum": "1"}), "#/minimum: a number, please"),
        (json!({"minLength": -1}), "#/minLength: a whole number from 0 on"),
        (json!({"multipleOf": 0}), "#/multipleOf: a number above 0"),
        (json!({"required": "a"}), "#/required: a list of strings"),
        (json!({"anyOf": []}), "#/anyOf: at least one schema"),
        (json!({"type": []}), "#/type: null, boolean,"),
        (json!({"pattern": "(?=a)"}), "#/pattern: the pattern cannot be used"),
        (json!({"pattern": "(((a{200}){200}){200})"}), "#/pattern: the pattern cannot be used"),
        (json!({"$ref": "https://example.com/a.json"}), "#/$ref: \"https://example.com/a.json\" leads out of the schema"),
        (json!({"$ref": "file:///etc/passwd"}), "#/$ref: \"file:///etc/passwd\" leads out"),
        (json!({"$ref": "#/$defs/none"}), "#/$ref: there is nothing at"),
    ] {
        let error = Schema::compile(&schema).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{schema}: {error}");
    }
    let mut deep = json!({});
    (0..100).for_each(|_| deep = json!({"not": deep}));
    assert!(Schema::compile(&deep).is_err());
}

/// Also where nothing reads them as schemas: what is deeper is never gone into.
#[test]
fn a_schema_is_nested_so_deep() {
    for around in [|inner| json!({"x": inner}), |inner| json!([inner])] as [fn(Value) -> Value; 2] {
        let nested = |depth: usize| {
            let inner = (1..depth).fold(json!({}), |inner, _| around(inner));
            Schema::compile(&json!({"examples": inner})).map(drop).map_err(|bad| bad.why)
        };
        let deep = || Err("a schema is nested at most 64 deep".to_string());
        let depths = [SCHEMA_DEPTH - 1, SCHEMA_DEPTH, SCHEMA_DEPTH + 1, SCHEMA_DEPTH + 2];
        assert_eq!(depths.map(nested), [Ok(()), Ok(()), deep(), deep()]);
    }
}

/// Each part that refers to the next one is a step on the way, whatever keyword it stands under.
#[test]
fn a_schema_refers_so_deep() {
    for (keyword, around) in [
        ("$ref", None),
        ("not", Some((|next| json!({"not": next})) as fn(Value) -> Value)),
        ("items", Some(|next| json!({"items": next}))),
        ("anyOf", Some(|next| json!({"anyOf": [next]}))),
        ("properties", Some(|next| json!({"properties": {"a": next}}))),
    ] {
        let chain = |depth: usize| {
            let (mut defs, mut left, mut at) = (serde_json::Map::new(), depth - 1, 0);
            while left > 0 {
                let next = json!({"$ref": format!("#/$defs/{}", at + 1)});
                let link = around.filter(|_| left > 1).map_or_else(|| next.clone(), |around| around(next.clone()));
                left -= if link == next { 1 } else { 2 };
                defs.insert(at.to_string(), link);
                at += 1;
            }
            defs.insert(at.to_string(), json!({"type": "string"}));
            Schema::compile(&json!({"$defs": defs, "$ref": "#/$defs/0"})).is_ok()
        };
        let around = [SCHEMA_DEPTH - 1, SCHEMA_DEPTH, SCHEMA_DEPTH + 1, SCHEMA_DEPTH + 2];
        assert_eq!(around.map(chain), [true, true, false, false], "{keyword}");
    }
}

#[test]
fn a_schema_has_so_many_parts() {
    let parts = |count: usize| {
        let members = (1..count).map(|at| (format!("f{at}"), json!({"type": "string"}))).collect::<serde_json::Map<_, _>>();
        Schema::compile(&json!({"properties": members})).is_ok()
    };
    assert_eq!([SCHEMA_NODES - 1, SCHEMA_NODES, SCHEMA_NODES + 1].map(parts), [true, true, false]);
}

/// A reference may be percent-encoded, an anchor may stand in a list.
#[test]
fn references_are_found_wherever_they_point() {
    let names = ["a b", "%", "100%", "é", "a/b~c", "%zz", "x%4"];
    let defs = names.map(|name| (name.to_string(), json!({"type": "integer"}))).into_iter().collect::<serde_json::Map<_, _>>();
    for target in ["a%20b", "%61%20%62", "%25", "100%25", "%C3%A9", "é", "a~1b~0c", "a%7E1b%7e0c", "%zz", "x%4", "%", "100%"] {
        let schema = json!({"$defs": defs, "properties": {"n": {"$ref": format!("#/$defs/{target}")}}});
        assert_eq!(said(&schema, &json!({"n": 1})), None, "{target}");
        assert!(said(&schema, &json!({"n": "x"})).is_some(), "{target}");
    }
    let listed =
        json!({"properties": {"t": {"$ref": "#text"}}, "allOf": [{}, {"properties": {"u": {"$anchor": "text", "type": "string"}}}]});
    assert_eq!((said(&listed, &json!({"t": "x"})), said(&listed, &json!({"t": 1})).is_some()), (None, true));
}

#[test]
fn references_stay_inside() {
    let schema = json!({
        "$id": "https://example.com/order", "$defs": {"a/b": {"type": "integer"}, "named": {"$anchor": "text", "type": "string"}},
        "properties": {"n": {"$ref": "#/$defs/a~1b"}, "m": {"$ref": "https://example.com/order#/$defs/a~1b"}, "t": {"$ref": "#text"},
            "child": {"$ref": "#"}},
    });
    assert_eq!(said(&schema, &json!({"n": 1, "m": 2.0, "t": "x", "child": {"child": {"n": 3}}})), None);
    assert_eq!(said(&schema, &json!({"child": {"child": {"n": "x"}}})).unwrap(), "[child] child/child/n: expected integer, found \"x\"");
    assert!(said(&schema, &json!({"t": 1})).is_some() && said(&schema, &json!({"m": "x"})).is_some());
}

/// A schema that never ends, one that doubles with each part, and a pattern on a long text: each ends, the value is refused.
#[test]
fn every_judgement_ends() {
    let steps = "[] the schema takes too many steps to judge this value";
    assert_eq!(said(&json!({"$ref": "#"}), &json!({})).as_deref(), Some(steps));
    let mut defs = serde_json::Map::new();
    defs.insert("d0".to_string(), json!({"type": "object"}));
    for at in 1..60 {
        let before = format!("#/$defs/d{}", at - 1);
        defs.insert(format!("d{at}"), json!({"allOf": [{"$ref": before}, {"$ref": before}]}));
    }
    assert_eq!(said(&json!({"$defs": defs, "$ref": "#/$defs/d30"}), &json!({})).as_deref(), Some(steps));
    let text = "a".repeat(1_000_000);
    let schema = json!({"properties": {"t": {"pattern": "^(a|aa|aaa|aaaa)*(b|bb|bbb|bbbb)*(c|cc|ccc)*(dddddddddddddddddddddddddddd)*$"}}});
    assert!(said(&schema, &json!({"t": text})).is_some());
    let many: Vec<Value> = (0..100_000).map(|n| json!(n)).collect();
    assert_eq!(said(&json!({"properties": {"l": {"uniqueItems": true}}}), &json!({"l": many})), None);
}

/// What a value costs: a step for each part and rule, and more for long texts, to the last step that there is.
#[test]
fn steps_are_counted() {
    let dear = |schema: &Value, value: &Value| said(schema, value).is_some_and(|said| said.contains("too many steps"));
    // A pattern costs for each byte of text, the more so the longer it is.
    for (length, cost) in [(1, 1), (15, 1), (16, 2), (160, 11)] {
        let schema = json!({"pattern": format!("^{}", "x".repeat(length - 1))});
        let last = usize::try_from((SCHEMA_STEPS - 2) / cost).unwrap() - 1;
        assert_eq!([last, last + 1].map(|bytes| dear(&schema, &json!("a".repeat(bytes)))), [false, true], "{length}");
    }
    // A length costs a step for 64 bytes.
    let text = json!("a".repeat(1_000_000));
    let most = usize::try_from((SCHEMA_STEPS - 2) / (2 + 1_000_000 / 64)).unwrap();
    let lengths = |count: usize| json!({"allOf": vec![json!({"maxLength": 2_000_000}); count]});
    assert_eq!([most, most + 1].map(|count| dear(&lengths(count), &text)), [false, true]);
    // Items that differ are looked at as texts, a step for 16 bytes.
    let unique = json!({"uniqueItems": true});
    assert!(!dear(&unique, &(0..270_000).map(|n| json!(100_000_000_000_000_u64 + n)).collect()));
    assert!(!dear(&unique, &json!(["a".repeat(1_000_000), "b".repeat(1_000_000)])));
    // Parts beside each other are no deeper than one.
    assert_eq!(said(&json!({"items": {"type": "integer"}}), &json!(vec![7; 1_000])), None);
}

#[test]
fn a_record_is_judged_as_its_json() {
    let schema = Schema::compile(&json!({"properties": {"n": {"type": "integer"}}, "required": ["n"]})).unwrap();
    let judge = |text: &str| schema.judge(&crate::json::Value::parse(text).unwrap()).map(|violation| violation.field);
    assert_eq!([r#"{"n":3.0}"#, r#"{"n":"3"}"#, "{}"].map(judge), [None, Some("n".to_string()), Some("n".to_string())]);
}

#[test]
fn eight_values_of_a_list_are_shown() {
    for (count, more) in [(1, ""), (8, ""), (9, ", …"), (10, ", …")] {
        let words: Vec<_> = (1..=count.min(8)).map(|n| n.to_string()).collect();
        let expected = format!("[] expected {}{more}, found 0", words.join(" or "));
        assert_eq!(said(&json!({"enum": (1..=count).collect::<Vec<_>>()}), &json!(0)), Some(expected));
    }
}

#[test]
fn values_are_the_same_inside_too() {
    let list = json!({"const": [1, {"a": [2]}]});
    assert_eq!(said(&list, &json!([1.0, {"a": [2.0]}])), None);
    for other in [json!([1]), json!([1, {"a": [2, 2]}]), json!([1, {"a": [3]}]), json!([1, {"b": [2]}]), json!([1, {"a": [2], "b": 1}])] {
        assert!(said(&list, &other).is_some(), "{other}");
    }
}

#[test]
fn items_that_a_schema_looked_at_are_no_rest() {
    let first = json!({"prefixItems": [{}, {"type": "string"}], "unevaluatedItems": false});
    for (value, good) in [(json!([]), true), (json!([1]), true), (json!([1, "x"]), true), (json!([1, "x", 2]), false)] {
        assert_eq!(said(&first, &value).is_none(), good, "{value}");
    }
    assert_eq!(said(&json!({"items": {}, "unevaluatedItems": false}), &json!([1, 2])), None);
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..4).prop_map(Value::from),
        prop_oneof![Just(1.0), Just(0.5), Just(2.5), Just(0.3)].prop_map(|float: f64| json!(float)),
        "[ab]{0,3}".prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[abc]", inner, 0..4).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn keyword(schema: BoxedStrategy<Value>) -> impl Strategy<Value = (&'static str, Value)> {
    let list = |of: BoxedStrategy<Value>| prop::collection::vec(of, 1..3).prop_map(Value::from).boxed();
    let map = |of: BoxedStrategy<Value>| {
        prop::collection::btree_map("[abc]", of, 0..3).prop_map(|members| Value::Object(members.into_iter().collect())).boxed()
    };
    let names = ["null", "boolean", "integer", "number", "string", "array", "object"];
    let one = (0..names.len()).prop_map(move |at| json!(names[at]));
    let few = || (0u64..3).prop_map(Value::from);
    let number = || (-2i64..3).prop_map(Value::from);
    let strings = || prop::collection::btree_set("[abc]", 0..3).prop_map(|names| json!(names));
    let pattern = || (0..4usize).prop_map(|at| json!(["^a", "b$", "^[ab]{2}$", "a|b"][at]));
    let patterns = prop::collection::btree_map((0..3usize).prop_map(|at| ["^a", "b", "c$"][at].to_string()), schema.clone(), 0..3)
        .prop_map(|members| Value::Object(members.into_iter().collect()));
    let single = [
        "items",
        "contains",
        "additionalProperties",
        "propertyNames",
        "not",
        "if",
        "then",
        "else",
        "unevaluatedItems",
        "unevaluatedProperties",
    ];
    prop_oneof![
        4 => one.prop_map(|of| ("type", of)),
        1 => list(scalar().boxed()).prop_map(|of| ("enum", of)),
        1 => value().prop_map(|of| ("const", of)),
        3 => ((0..4usize), number()).prop_map(|(at, of)| (["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"][at], of)),
        1 => prop_oneof![Just(json!(2)), Just(json!(0.1)), Just(json!(0.5))].prop_map(|of| ("multipleOf", of)),
        3 => ((0..6usize), few()).prop_map(|(at, of)| (["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"][at], of)),
        1 => pattern().prop_map(|of| ("pattern", of)),
        1 => any::<bool>().prop_map(|of| ("uniqueItems", Value::from(of))),
        2 => strings().prop_map(|of| ("required", of)),
        1 => prop::collection::btree_map("[abc]", strings(), 0..2).prop_map(|of| ("dependentRequired", json!(of))),
        1 => ((0..2usize), few()).prop_map(|(at, of)| (["minContains", "maxContains"][at], of)),
        8 => ((0..single.len()), schema.clone()).prop_map(move |(at, of)| (single[at], of)),
        4 => ((0..4usize), list(schema.clone())).prop_map(|(at, of)| (["allOf", "anyOf", "oneOf", "prefixItems"][at], of)),
        4 => ((0..2usize), map(schema)).prop_map(|(at, of)| (["properties", "dependentSchemas"][at], of)),
        1 => patterns.prop_map(|of| ("patternProperties", of)),
    ]
}

fn schema() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![1 => any::<bool>().prop_map(Value::from), 3 => Just(json!({"type": "string"})), 3 => Just(json!({"minimum": 1}))];
    leaf.prop_recursive(4, 32, 3, |inner| {
        prop::collection::vec(keyword(inner.boxed()), 0..4)
            .prop_map(|members| Value::Object(members.into_iter().map(|(name, of)| (name.to_string(), of)).collect()))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, rng_seed: RngSeed::Fixed(20_261_126), ..ProptestConfig::default() })]

    /// The library that the cloud used before is the yardstick.
    #[test]
    fn the_verdict_is_that_of_the_specification(schema in schema(), values in prop::collection::vec(value(), 1..6)) {
        let theirs = jsonschema::draft202012::new(&schema);
        let ours = Schema::compile(&schema);
        prop_assert_eq!(theirs.is_ok(), ours.is_ok(), "{} {:?}", schema, ours);
        if let (Ok(theirs), Ok(ours)) = (theirs, ours) {
            for value in values {
                prop_assert_eq!(theirs.is_valid(&value), ours.judge_json(&value).is_none(), "{} on {}: {:?}", schema, value, ours.judge_json(&value));
            }
        }
    }

    #[test]
    fn compiling_never_panics(schema in value()) {
        let _ = Schema::compile(&schema);
    }
}

#[test]
fn what_is_unevaluated_is_so_for_its_own_schema_alone() {
    let strict = json!({"unevaluatedItems": false, "unevaluatedProperties": false});
    for (schema, value) in [
        (json!({"items": {}, "allOf": [strict]}), json!([null])),
        (json!({"allOf": [{"items": {}}, strict]}), json!([null])),
        (json!({"properties": {"a": {}}, "allOf": [strict]}), json!({"a": 1})),
        (json!({"properties": {"a": {}}, "if": {}, "then": strict}), json!({"a": 1})),
        (json!({"properties": {"a": {}}, "dependentSchemas": {"a": strict}}), json!({"a": 1})),
        (json!({"properties": {"a": {}}, "$ref": "#/$defs/s", "$defs": {"s": strict}}), json!({"a": 1})),
    ] {
        assert!(said(&schema, &value).is_some(), "{schema} on {value}");
        assert!(!jsonschema::draft202012::new(&schema).unwrap().is_valid(&value), "{schema} on {value}");
    }
    let outer = json!({"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": false});
    assert_eq!(said(&outer, &json!({"a": 1})), None);
}

#[test]
fn numbers_are_decimal() {
    for (value, of, holds) in
        [(json!(0.3), json!(0.1), true), (json!(19.99), json!(0.01), true), (json!(1e300), json!(0.5), true), (json!(7), json!(2), false)]
    {
        assert_eq!(said(&json!({"multipleOf": of}), &value).is_none(), holds, "{value} {of}");
    }
    for (value, of, holds) in [(json!(1e300), json!(0.1), true), (json!(1e-10), json!(1e40), false), (json!(0.0), json!(1e300), true)] {
        assert_eq!(said(&json!({"multipleOf": of}), &value).is_none(), holds, "{value} {of}, too far apart for decimals");
    }
    // A whole number from 10^15 on, spelt as a float, differed from itself.
    for (one, other, same) in [
        (json!(1e15), json!(1_000_000_000_000_000_u64), true),
        (json!(-2e18), json!(-2_000_000_000_000_000_000_i64), true),
        (json!(9_007_199_254_740_993_u64), json!(9_007_199_254_740_992_u64), false),
        (json!(u64::MAX), json!(u64::MAX - 1), false),
        (json!(1e39), json!(1e40), false),
        (json!(0.0), json!(-0.0), true),
        (json!(0.5), json!(0.25), false),
    ] {
        assert_eq!(said(&json!({"uniqueItems": true}), &json!([one, other])).is_some(), same, "{one} {other}");
    }
    assert_eq!(said(&json!({"const": 1}), &json!(1.0)), None);
    assert!(said(&json!({"maximum": 9007199254740992i64}), &json!(9007199254740993i64)).is_some());
    assert!(said(&json!({"uniqueItems": true}), &json!([1, 1.0])).is_some());
    assert!(said(&json!({"type": "integer"}), &json!(1.5)).is_some());
}
