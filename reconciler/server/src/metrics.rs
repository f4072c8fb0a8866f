//! Metrics in the Prometheus text format 0.0.4. Written by hand: the format is a page, and a client
//! library would bring registries and atomics for values that are computed once a pass.

use std::fmt::Write;

use model::Timestamp;
use runtime::execute::Summary;
use runtime::pass::Pass;

/// Prometheus text under construction.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Adds a counter.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "counter");
        let _ = writeln!(self.0, "{name} {value}");
    }

    /// Adds a gauge.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, help, "gauge");
        let _ = writeln!(self.0, "{name} {value}");
    }

    /// Adds a gauge of whole numbers.
    pub fn gauge_int(&mut self, name: &str, help: &str, value: i64) {
        self.head(name, help, "gauge");
        let _ = writeln!(self.0, "{name} {value}");
    }

    /// Adds a gauge with one line per set of labels.
    pub fn family(&mut self, name: &str, help: &str, lines: &[(Vec<(&str, String)>, i64)]) {
        if lines.is_empty() {
            return;
        }
        self.head(name, help, "gauge");
        for (labels, value) in lines {
            let labels: Vec<String> =
                labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escape(v))).collect();
            let _ = writeln!(self.0, "{name}{{{}}} {value}", labels.join(","));
        }
    }

    /// Returns the text.
    pub fn finish(self) -> String {
        self.0
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Returns the metrics of one pass.
pub fn of_pass(pass: &Pass, summary: Option<&Summary>, now: Timestamp) -> String {
    let status = operations::status::report(pass, now);
    let mut age = Vec::new();
    let mut objective = Vec::new();
    let mut met = Vec::new();
    let (mut time, mut in_time) = (Vec::new(), Vec::new());
    let mut condition = Vec::new();
    for (address, resource) in &status.resources {
        let label = vec![("resource", address.to_string())];
        if let Some(seconds) = resource.age_s {
            age.push((label.clone(), i64::try_from(seconds).unwrap_or(i64::MAX)));
        }
        if let Some(rpo) = resource.rpo_s {
            objective.push((label.clone(), i64::try_from(rpo).unwrap_or(i64::MAX)));
            let kept = resource.rpo == operations::status::Verdict::Kept;
            met.push((label.clone(), i64::from(kept)));
        }
        if let Some(rto) = &resource.rto {
            time.push((label.clone(), i64::try_from(rto.wanted_s).unwrap_or(i64::MAX)));
            let kept = rto.verdict == operations::status::Verdict::Kept;
            in_time.push((label.clone(), i64::from(kept)));
        }
        let mut labels = label;
        labels.push(("condition", resource.condition.word().to_owned()));
        condition.push((labels, 1));
    }
    let mut text = Text::default();
    text.family(
        "mainstay_resource_newest_proven_point_age_seconds",
        "Age of the newest proven recovery point.",
        &age,
    );
    text.family("mainstay_resource_rpo_seconds", "The recovery point objective.", &objective);
    text.family("mainstay_resource_rpo_met", "1 if the objective is met.", &met);
    text.family("mainstay_resource_rto_seconds", "The recovery time objective.", &time);
    text.family(
        "mainstay_resource_rto_met",
        "1 if the objective is met by the last restore that was measured.",
        &in_time,
    );
    text.family("mainstay_resource_condition", "1 for the present condition.", &condition);
    let waiting = summary.map_or(0, |s| s.waiting.len());
    text.gauge_int(
        "mainstay_steps_waiting",
        "Steps that wait for a person, a window, a budget or time.",
        i64::try_from(waiting).unwrap_or(i64::MAX),
    );
    text.gauge_int(
        "mainstay_recoveries_awaiting_commit",
        "Recoveries that wait for commit or rollback.",
        i64::try_from(runtime::daemon::awaiting_commit(pass)).unwrap_or(i64::MAX),
    );
    text.finish()
}
