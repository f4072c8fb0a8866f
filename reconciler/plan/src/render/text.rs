//! A plan as labelled lines: what is wrong, what will be done and why, what will not and why.

use model::plan::{Action, Class, Condition, Plan, Step};

use super::words::{bytes, describe, duration, title, wait};
use super::{Label, Lines};
use crate::outcome::Outcome;

/// Renders a plan for people.
pub fn text(plan: &Plan) -> Lines {
    let mut out = Lines::default();
    out.push([
        (Label::Heading, "plan ".to_owned()),
        (Label::Id, plan.id.short().to_owned()),
        (Label::Plain, format!(" of commit {} at {}", plan.commit.short(), plan.at)),
    ]);
    conditions(&mut out, plan);
    alarms(&mut out, plan);
    steps(&mut out, plan);
    deferred(&mut out, plan);
    list(&mut out, "not observed", Label::Bad, &plan.report.incomplete);
    list(&mut out, "notes", Label::Dim, &plan.report.notes);
    out.blank();
    summary(&mut out, plan);
    out
}

fn conditions(out: &mut Lines, plan: &Plan) {
    let unwell: Vec<_> =
        plan.report.conditions.unwell().iter().filter(|(_, c)| !is_well(c)).collect();
    if unwell.is_empty() {
        return;
    }
    out.blank();
    out.line(Label::Heading, "conditions");
    for (address, condition) in unwell {
        out.push([
            (Label::Plain, "  ".to_owned()),
            (Label::Id, address.to_string()),
            (Label::Plain, " ".to_owned()),
            (Label::Bad, describe(condition)),
        ]);
    }
}

fn alarms(out: &mut Lines, plan: &Plan) {
    if plan.report.alarms.is_empty() {
        return;
    }
    out.blank();
    out.line(Label::Heading, "alarms");
    for alarm in &plan.report.alarms {
        out.line(Label::Bad, format!("  {}", wait(alarm)));
    }
}

fn steps(out: &mut Lines, plan: &Plan) {
    if plan.steps.is_empty() {
        return;
    }
    out.blank();
    out.line(Label::Heading, "steps");
    for step in &plan.steps {
        self::step(out, step);
    }
}

fn step(out: &mut Lines, step: &Step) {
    let (sign, label) = sign(step);
    out.push([
        (label, format!("  {sign} ")),
        (
            if step.class == Class::Destructive { Label::Destructive } else { Label::Plain },
            title(step),
        ),
        (Label::Dim, format!("  [{}]", step.id)),
    ]);
    for reason in &step.reasons {
        out.line(Label::Dim, format!("      {reason}"));
    }
    if let Action::Restore { paths, .. } = &step.action {
        for path in paths {
            out.line(Label::Dim, format!("      only {path}"));
        }
    }
    if let Some(loss) = &step.loss {
        let ago = duration(loss.seconds);
        out.line(Label::Warning, format!("      loses everything after {} ({ago})", loss.after));
        for detail in &loss.detail {
            out.line(Label::Warning, format!("        {detail}"));
        }
    }
    if let Some(size) = step.estimate.bytes {
        out.line(Label::Dim, format!("      about {}", bytes(size)));
    }
    for each in &step.waits {
        out.line(Label::Warning, format!("      waits for {}", wait(each)));
    }
}

fn sign(step: &Step) -> (&'static str, Label) {
    match (&step.action, step.class) {
        (_, Class::Destructive) => ("!", Label::Destructive),
        (Action::Init { .. } | Action::Backup { .. }, _) => ("+", Label::Add),
        (Action::Verify { .. }, _) => ("?", Label::Good),
        (Action::Expire { .. } | Action::Reclaim { .. } | Action::Commit { .. }, _) => {
            ("-", Label::Remove)
        }
        (
            Action::Restore { .. }
            | Action::Recreate { .. }
            | Action::Rollback { .. }
            | Action::Adopt { .. },
            _,
        ) => ("~", Label::Change),
    }
}

fn deferred(out: &mut Lines, plan: &Plan) {
    if plan.report.deferred.is_empty() {
        return;
    }
    out.blank();
    out.line(Label::Heading, "not planned");
    for deferred in &plan.report.deferred {
        let until = deferred.until.map_or(String::new(), |until| format!(", until {until}"));
        out.push([
            (Label::Plain, "  ".to_owned()),
            (Label::Id, deferred.step.to_string()),
            (Label::Warning, format!(" {}", deferred.code)),
            (Label::Plain, format!(": {}{until}", deferred.reason)),
        ]);
    }
}

fn list(out: &mut Lines, heading: &str, label: Label, items: &[String]) {
    if items.is_empty() {
        return;
    }
    out.blank();
    out.line(Label::Heading, heading);
    for item in items {
        out.line(label, format!("  {item}"));
    }
}

fn summary(out: &mut Lines, plan: &Plan) {
    let outcome = Outcome::of(plan);
    let label = match outcome {
        Outcome::NothingToDo => Label::Good,
        Outcome::Changes => Label::Plain,
        Outcome::DestructiveWaiting | Outcome::ObservationIncomplete => Label::Warning,
    };
    let unwell = plan.report.conditions.unwell().values().filter(|c| !is_well(c)).count();
    let sentence = match (outcome, unwell) {
        (Outcome::NothingToDo, 1..) => "nothing is planned",
        _ => outcome.sentence(),
    };
    let unwell = match unwell {
        0 => String::new(),
        1 => "; 1 resource is not well".to_owned(),
        n => format!("; {n} resources are not well"),
    };
    out.line(label, format!("{sentence}: {}{unwell}", counts(plan)));
}

/// Whether nobody needs to be told of a condition.
pub(super) fn is_well(condition: &Condition) -> bool {
    matches!(condition, Condition::Healthy | Condition::NeverProtected)
}

/// Counts of steps by verb, in the order in which they come.
pub(super) fn counts(plan: &Plan) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for step in &plan.steps {
        let verb = step.action.verb();
        match counts.iter_mut().find(|(word, _)| *word == verb) {
            Some((_, n)) => *n += 1,
            None => counts.push((verb, 1)),
        }
    }
    if counts.is_empty() {
        return "no steps".to_owned();
    }
    let words: Vec<String> = counts.iter().map(|(verb, n)| format!("{n} {verb}")).collect();
    words.join(", ")
}
