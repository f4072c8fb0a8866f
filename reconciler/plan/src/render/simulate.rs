//! How a retention policy plays out, as labelled lines.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::desired::{Keep, Retention};

use super::words::{duration, points};
use super::{Label, Lines};
use crate::retention::{is_empty, rules, within_rules};
use crate::simulate::{Frame, Horizon, Restic, Simulation};

/// Lines that show how the number of points grew.
const SAMPLES_MAX: usize = 24;

/// Returns a policy's rules in one line, such as `daily 7, yearly forever`.
pub fn rules_in_words(policy: &Retention) -> String {
    if is_empty(policy) {
        return "everything: the policy has no rule".to_owned();
    }
    let mut words: Vec<String> = rules(policy)
        .into_iter()
        .filter_map(|(word, keep, _)| match keep {
            Keep::Unset => None,
            Keep::Count(n) => Some(format!("{word} {n}")),
            Keep::Forever => Some(format!("{word} forever")),
        })
        .collect();
    words.extend(policy.within_s.map(|s| format!("everything within {}", duration(s))));
    for (word, within_s, _) in within_rules(policy) {
        words.extend(within_s.map(|s| format!("{word} within {}", duration(s))));
    }
    words.extend(policy.tags.iter().map(|tag| format!("tag {tag}")));
    if policy.at_least > 1 {
        words.push(format!("at least {}", policy.at_least));
    }
    words.join(", ")
}

/// Renders how a policy plays out. Instants are shown in `zone`.
pub fn simulation(policy: &Retention, run: &Simulation, zone: &TimeZone) -> Lines {
    let mut out = Lines::default();
    out.push([
        (Label::Heading, format!("policy {}", policy.name)),
        (Label::Plain, format!(" keeps {}", rules_in_words(policy))),
    ]);
    let (first, last) = (run.frames.first(), run.frames.last());
    let (Some(first), Some(last)) = (first, last) else {
        out.line(Label::Bad, "the schedule has no slot in this time");
        return out;
    };
    let (from, until) = (at(first.at, zone), at(last.at, zone));
    out.line(Label::Plain, format!("{} backups from {from} to {until}", run.slots));
    if run.truncated {
        out.line(Label::Warning, "that is as many as one simulation runs through; it ends early");
    }
    let (sentence, label) = match run.horizon {
        Horizon::Forever => ("one can always go back to the beginning".to_owned(), Label::Good),
        Horizon::Seconds(0) => ("no age is guaranteed".to_owned(), Label::Warning),
        Horizon::Seconds(s) => {
            (format!("one can always go back {}, once it is that old", duration(s)), Label::Good)
        }
    };
    out.line(label, format!("guaranteed horizon: {sentence}"));
    out.blank();
    out.line(Label::Heading, "points over time");
    for frame in samples(&run.frames) {
        let oldest = duration(frame.oldest_s);
        let when = at(frame.at, zone);
        out.line(Label::Plain, format!("  {when}  {:>5}   oldest {oldest}", frame.points));
    }
    let most = run.frames.iter().map(|f| f.points).max().unwrap_or(0);
    out.line(Label::Dim, format!("  at most {} at once", points(most)));
    out.blank();
    out.line(Label::Heading, format!("the {} that are left, and why", points(run.left.len())));
    for left in &run.left {
        let until = left.removable_at.map_or_else(
            || "not removable by time alone".to_owned(),
            |until| format!("removable {}", at(until, zone)),
        );
        out.push([
            (Label::Plain, format!("  {}  ", at(left.at, zone))),
            (Label::Plain, left.reasons.join("; ")),
            (Label::Dim, format!("; {until}")),
        ]);
    }
    out.blank();
    restic(&mut out, &run.restic, run.slots, zone);
    out
}

fn at(at: Timestamp, zone: &TimeZone) -> String {
    zone.to_datetime(at).strftime("%Y-%m-%d %H:%M").to_string()
}

/// Some frames, evenly, the first and the last among them.
fn samples(frames: &[Frame]) -> Vec<&Frame> {
    if frames.len() <= SAMPLES_MAX {
        return frames.iter().collect();
    }
    let last = frames.len() - 1;
    (0..SAMPLES_MAX).map(|n| &frames[n * last / (SAMPLES_MAX - 1)]).collect()
}

fn restic(out: &mut Lines, restic: &Restic, slots: usize, zone: &TimeZone) {
    out.line(Label::Heading, "restic, for comparison");
    if restic.options.is_empty() {
        out.line(Label::Plain, "  restic forget refuses a policy without a rule");
    } else {
        out.line(Label::Plain, format!("  restic forget {}", restic.options.join(" ")));
    }
    for cannot in &restic.cannot {
        out.line(Label::Warning, format!("  {cannot}"));
    }
    if restic.differs == 0 {
        out.line(Label::Good, "  keeps the same points after every backup");
        return;
    }
    let n = restic.differs;
    out.line(
        Label::Warning,
        format!(
            "  keeps other points after {n} of {slots} backups; at the end {}",
            points(restic.points)
        ),
    );
    let list = |of: &[Timestamp]| of.iter().map(|t| at(*t, zone)).collect::<Vec<_>>().join(", ");
    for differs in restic.first.iter().take(3) {
        out.line(Label::Dim, format!("  after {}:", at(differs.at, zone)));
        if !differs.only_restic.is_empty() {
            out.line(Label::Dim, format!("    only restic has {}", list(&differs.only_restic)));
        }
        if !differs.only_ours.is_empty() {
            out.line(Label::Dim, format!("    only Mainstay has {}", list(&differs.only_ours)));
        }
    }
}
