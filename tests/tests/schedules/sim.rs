//! Histories with everything that goes wrong in the field: nothing lost, nothing twice, and everybody in sync at the end.

use std::collections::BTreeMap;

use tests::lab::sim::Plan;

/// How many plans are run, unless `TOMBOLO_SEEDS` says otherwise.
const SEEDS: u64 = 45;

/// What so many plans must have met.
const MET: [&str; 15] = [
    "cut",
    "half open",
    "freeze",
    "dark",
    "kill Cloud",
    "kill Edge",
    "will fail",
    "full",
    "limit",
    "label",
    "Cloud: an image is put back",
    "Edge(1): an image is put back",
    "is a copy",
    "replaced",
    OVERTAKEN,
];
/// It is counted, not said.
const OVERTAKEN: &str = "control overtakes bulk";

#[test]
fn any_plan_ends_in_sync() {
    let set = |name: &str| std::env::var(name).ok();
    let plans: Vec<_> = match (set("TOMBOLO_PLAN"), set("TOMBOLO_SEED")) {
        (Some(plan), _) => {
            vec![Plan::parse(&plan).expect("TOMBOLO_PLAN is SEED or SEED:STEP,STEP,…, with q before it for links with streams")]
        }
        (None, Some(seed)) => vec![Plan::of(seed.parse().unwrap())],
        (None, None) => (0..set("TOMBOLO_SEEDS").map_or(SEEDS, |text| text.parse().unwrap())).map(Plan::of).collect(),
    };
    let (count, mut met) = (plans.len(), BTreeMap::new());
    for plan in plans {
        println!("plan {}", plan.seed);
        match plan.outcome() {
            Ok(lab) => MET
                .iter()
                .filter(|word| (**word == OVERTAKEN && lab.brought.overtaken > 0) || lab.trace.iter().any(|line| line.contains(**word)))
                .for_each(|word| *met.entry(word).or_insert(0) += 1),
            // Whoever only wants to know whether something is found does not wait for the shortest way to it.
            Err(failure) if set("TOMBOLO_AS_LONG_AS_IT_IS").is_some() => panic!("plan {}: {failure}", plan.seed),
            Err(_) => {
                let shortest = plan.shortest(|plan| plan.outcome().is_err());
                panic!("TOMBOLO_PLAN={shortest} fails: {}", shortest.outcome().err().unwrap_or_default());
            }
        }
    }
    println!("{met:?}");
    let missed: Vec<_> = MET.iter().filter(|word| !met.contains_key(word)).collect();
    assert!(count < SEEDS as usize || missed.is_empty(), "no plan met {missed:?}");
}

#[test]
fn the_same_plan_gives_the_same_trace() {
    for seed in [4, 5] {
        let (one, two) = (Plan::of(seed).run().trace, Plan::of(seed).run().trace);
        let differs = one.iter().zip(&two).position(|(one, two)| one != two);
        assert_eq!(differs.map(|at| (&one[at], &two[at])), None);
        assert_eq!(one.len(), two.len());
    }
}

#[test]
fn a_plan_that_fails_is_made_as_short_as_it_gets() {
    let mut tried = 0;
    let short = Plan::of(1).shortest(|plan| {
        tried += 1;
        plan.steps.contains(&3) && plan.steps.contains(&70)
    });
    assert_eq!(short, Plan { seed: 1, steps: vec![3, 70], streams: false });
    assert!(tried < 100, "{tried}");
    assert_eq!(Plan::parse(&short.to_string()), Some(short));
}
