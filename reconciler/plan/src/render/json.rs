//! A plan as JSON under a version of its own, with the words that people see beside the data. Its
//! schema is `schema/plan.json`.

use model::plan::Plan;
use serde_json::{Value, json};

use super::words::{title, wait};
use crate::outcome::Outcome;

/// Version of the JSON shape. Fields are added without a new version; one that goes or changes its
/// meaning makes a new one.
pub const JSON_VERSION: u32 = 2;

/// Renders a plan for programs.
pub fn json(plan: &Plan) -> Value {
    let outcome = Outcome::of(plan);
    let titles: Vec<Value> = plan
        .steps
        .iter()
        .map(|step| {
            let waits: Vec<String> = step.waits.iter().map(wait).collect();
            json!({ "id": step.id, "title": title(step), "waits": waits })
        })
        .collect();
    json!({
        "format": "mainstay.dev/plan",
        "version": JSON_VERSION,
        "outcome": outcome,
        "exitCode": outcome.exit_code(),
        "titles": titles,
        // Shaped by derived serialisation with string keys only, which does not fail.
        "plan": serde_json::to_value(plan).unwrap_or(Value::Null),
    })
}
