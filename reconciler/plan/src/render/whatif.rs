//! Answers to what-if questions as labelled lines.

use jiff::Timestamp;

use super::words::{bytes, duration, points};
use super::{Label, Lines};
use crate::whatif::{
    Difference, Duration, Fate, Forecast, Load, StepChange, Survival, VerdictChange, WhatIf,
};

/// Renders what a loss would leave.
pub fn what_if(answer: &WhatIf) -> Lines {
    let mut out = Lines::default();
    out.push([
        (Label::Heading, format!("{} lost", answer.disaster.words())),
        (Label::Plain, format!(" at {}", whole(answer.at))),
    ]);
    let gone: Vec<String> = answer
        .hosts
        .iter()
        .map(|n| format!("host {n}"))
        .chain(answer.clusters.iter().map(|n| format!("cluster {n}")))
        .chain(answer.repositories.iter().map(|n| format!("repository {n}")))
        .collect();
    if gone.is_empty() {
        out.line(Label::Plain, "no host, cluster or repository goes with it");
    } else {
        out.line(Label::Plain, format!("with it goes: {}", gone.join(", ")));
    }
    let lost = &answer.resources;
    if !lost.is_empty() {
        out.blank();
        out.line(Label::Heading, "brought back, in this order");
        let (back, gone): (Vec<&Survival>, Vec<&Survival>) =
            lost.iter().partition(|s| s.point.is_some() || s.fate == Fate::MadeAnew);
        for (n, survival) in back.iter().enumerate() {
            recovery(&mut out, n + 1, survival);
        }
        if back.is_empty() {
            out.line(Label::Bad, "  nothing");
        }
        lost_for_good(&mut out, &gone);
    }
    remaining(&mut out, answer);
    mends(&mut out, answer);
    out.blank();
    summary(&mut out, answer);
    out
}

fn lost_for_good(out: &mut Lines, gone: &[&Survival]) {
    if gone.is_empty() {
        return;
    }
    out.blank();
    out.line(Label::Heading, "not brought back");
    for survival in gone {
        let word = if survival.fate == Fate::Unknown { "unknown" } else { "gone for good" };
        let why = survival.why.as_deref().unwrap_or_default();
        out.push([
            (Label::Plain, "  ".to_owned()),
            (Label::Id, survival.resource.to_string()),
            (Label::Bad, format!(" {word}: {why}")),
        ]);
    }
}

fn recovery(out: &mut Lines, n: usize, survival: &Survival) {
    let mut line =
        vec![(Label::Plain, format!("  {n}. ")), (Label::Id, survival.resource.to_string())];
    let Some(point) = &survival.point else {
        let why = survival.why.as_deref().unwrap_or_default();
        line.push((Label::Warning, format!(" {why}")));
        out.push(line);
        after(out, survival);
        return;
    };
    let unproven = if survival.proven { "" } else { ", NOT PROVEN" };
    line.extend([
        (Label::Plain, format!(" from {} in {}", point.snapshot.short(), point.repository)),
        (Label::Bad, unproven.to_owned()),
    ]);
    out.push(line);
    let over = match (survival.loss_s, survival.rpo_s) {
        (Some(loss), Some(rpo)) if loss > rpo => {
            format!(" — more than the {} that are promised", duration(rpo))
        }
        _ => String::new(),
    };
    let label = if over.is_empty() { Label::Dim } else { Label::Bad };
    let loss = duration(survival.loss_s.unwrap_or(0));
    out.line(
        label,
        format!("     loses everything after {} ({loss}){over}", whole(point.taken_at)),
    );
    let size = survival.bytes.map_or("size unknown".to_owned(), bytes);
    let slow = match (&survival.duration, survival.rto_s) {
        (Duration::About { seconds, .. } | Duration::MoreThan { seconds }, Some(rto))
            if *seconds > rto =>
        {
            format!(" — more than the {} that are promised", duration(rto))
        }
        _ => String::new(),
    };
    let label = if slow.is_empty() { Label::Dim } else { Label::Bad };
    out.line(label, format!("     {size}, {}{slow}", time(&survival.duration)));
    after(out, survival);
}

fn after(out: &mut Lines, survival: &Survival) {
    if !survival.after.is_empty() {
        let names: Vec<String> = survival.after.iter().map(ToString::to_string).collect();
        out.line(Label::Dim, format!("     after {}", names.join(", ")));
    }
}

/// Returns how long something takes in words.
pub fn time(of: &Duration) -> String {
    let seconds_of = |seconds: &u64| if *seconds == 0 { "1 s".into() } else { duration(*seconds) };
    match of {
        Duration::About { seconds, runs: 1 } => {
            format!("about {} (measured once)", seconds_of(seconds))
        }
        Duration::About { seconds, runs } => {
            format!("about {} (measured {runs} times)", seconds_of(seconds))
        }
        Duration::MoreThan { seconds } => {
            format!("more than {} (only reading was measured)", seconds_of(seconds))
        }
        Duration::Unknown { why } => format!("time unknown: {why}"),
    }
}

fn remaining(out: &mut Lines, answer: &WhatIf) {
    let mut list = |heading: &str, label: Label, names: Vec<String>| {
        if !names.is_empty() {
            out.blank();
            out.line(Label::Heading, heading);
            for name in names {
                out.line(label, format!("  {name}"));
            }
        }
    };
    list(
        "live data stays, but no proven point of it is left",
        Label::Bad,
        answer.unprotected.iter().map(ToString::to_string).collect(),
    );
    list(
        "reached with this key: not looked at, backed up or restored until it is set anew",
        Label::Warning,
        answer.locked.iter().map(ToString::to_string).collect(),
    );
    list(
        "reached with this key: their data is there, and out of reach until there is another",
        Label::Warning,
        answer.closed.iter().map(ToString::to_string).collect(),
    );
    list(
        "taken to survive, because no document says where it is",
        Label::Warning,
        answer.unknown_domains.iter().cloned().collect(),
    );
}

fn mends(out: &mut Lines, answer: &WhatIf) {
    if answer.mends.is_empty() {
        return;
    }
    out.blank();
    out.line(Label::Heading, "what would help, cheapest first");
    for mend in &answer.mends {
        let names: Vec<String> = mend.resources.iter().map(ToString::to_string).collect();
        out.line(Label::Plain, format!("  {} ({})", mend.what, names.join(", ")));
    }
}

fn summary(out: &mut Lines, answer: &WhatIf) {
    let count = |fate: Fate| answer.resources.iter().filter(|s| s.fate == fate).count();
    let (back, unproven) = (count(Fate::ComesBack), count(Fate::Unproven));
    let (gone, unknown) = (count(Fate::Gone), count(Fate::Unknown));
    let anew = count(Fate::MadeAnew);
    let mut words = Vec::new();
    if answer.resources.is_empty() {
        words.push("no live data is lost".to_owned());
    } else {
        words.push(format!("{back} of {} come back from proven points", answer.resources.len()));
    }
    for (n, what) in [
        (unproven, "from unproven points"),
        (anew, "made anew"),
        (gone, "gone for good"),
        (unknown, "unknown"),
    ] {
        if n > 0 {
            words.push(format!("{n} {what}"));
        }
    }
    if !answer.unprotected.is_empty() {
        words.push(format!("{} left without a proven point", answer.unprotected.len()));
    }
    if back + unproven > 0 {
        words.push(format!("one after the other {}", time(&answer.duration)));
    }
    let well = unproven + gone + unknown == 0 && answer.unprotected.is_empty();
    out.line(if well { Label::Good } else { Label::Warning }, words.join("; "));
}

/// An instant to the second.
fn whole(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// Renders what the schedules bring.
pub fn forecast(forecast: &Forecast) -> Lines {
    let mut out = Lines::default();
    out.push([
        (Label::Heading, format!("{} backups", forecast.slots)),
        (Label::Plain, format!(" from {} to {}", whole(forecast.from), whole(forecast.until))),
    ]);
    if forecast.truncated {
        out.line(Label::Bad, "there are more; the figures are too small: ask for fewer days");
    }
    for (heading, loads) in [
        ("written to repositories", &forecast.repositories),
        ("read from targets", &forecast.targets),
        ("over links", &forecast.links),
    ] {
        if loads.is_empty() {
            continue;
        }
        out.blank();
        out.line(Label::Heading, heading);
        for (name, of) in loads {
            load(&mut out, name, of);
        }
    }
    if !forecast.unknown_sizes.is_empty() {
        out.blank();
        let names: Vec<String> = forecast.unknown_sizes.iter().map(ToString::to_string).collect();
        out.line(
            Label::Warning,
            format!("size unknown, so not in the bytes: {}", names.join(", ")),
        );
    }
    if !forecast.never.is_empty() {
        out.blank();
        let names = forecast.never.join(", ");
        out.line(Label::Warning, format!("started by no clock: {names}"));
    }
    out.blank();
    out.line(
        Label::Dim,
        "bytes are the sources' sizes; what is new of them, and is stored, is less",
    );
    out
}

fn load(out: &mut Lines, name: &str, load: &Load) {
    out.push([
        (Label::Plain, "  ".to_owned()),
        (Label::Id, name.to_owned()),
        (Label::Plain, format!("  {} backups, {}", load.backups, bytes(load.bytes))),
    ]);
    if let Some(hour) = load.busiest_hour {
        let (n, size) = (load.busiest_backups, bytes(load.busiest_bytes));
        out.line(Label::Dim, format!("      busiest hour from {hour}: {n} backups, {size}"));
    }
    let gap = duration(load.longest_gap_s);
    out.line(Label::Dim, format!("      longest time without a backup: {gap}"));
}

/// Renders what differs between two plans.
pub fn difference(difference: &Difference) -> Lines {
    let mut out = Lines::default();
    if difference.is_empty() {
        out.line(Label::Good, "the plans do not differ");
        return out;
    }
    let mut steps = |heading: &str, sign: &str, label: Label, of: &[StepChange]| {
        if of.is_empty() {
            return;
        }
        out.blank();
        out.line(Label::Heading, heading);
        for step in of {
            let danger = if step.destructive { Label::Destructive } else { label };
            out.push([
                (danger, format!("  {sign} {}", step.title)),
                (Label::Dim, format!("  [{}]", step.id)),
            ]);
            for how in &step.how {
                out.line(Label::Dim, format!("      {how}"));
            }
        }
    };
    steps("planned as well", "+", Label::Add, &difference.added);
    steps("no longer planned", "-", Label::Remove, &difference.removed);
    steps("planned otherwise", "~", Label::Change, &difference.changed);
    let mut lines = |heading: &str, label: Label, of: &[String]| {
        if of.is_empty() {
            return;
        }
        out.blank();
        out.line(Label::Heading, heading);
        for line in of {
            out.line(label, format!("  {line}"));
        }
    };
    lines("resources", Label::Change, &difference.resources);
    lines("conditions", Label::Change, &difference.conditions);
    lines("alarms that come", Label::Bad, &difference.alarms);
    lines("alarms that go", Label::Good, &difference.no_longer_alarms);
    lines("left out as well", Label::Warning, &difference.deferred);
    lines("no longer left out", Label::Good, &difference.no_longer_deferred);
    let removable: Vec<&VerdictChange> = difference.retention.iter().filter(|v| !v.keep).collect();
    let kept: Vec<&VerdictChange> = difference.retention.iter().filter(|v| v.keep).collect();
    for (heading, label, verdicts) in
        [("points that may go", Label::Remove, removable), ("points that stay", Label::Add, kept)]
    {
        if verdicts.is_empty() {
            continue;
        }
        out.blank();
        out.line(Label::Heading, format!("{heading}: {}", points(verdicts.len())));
        for v in verdicts {
            let why = v.reasons.join("; ");
            out.line(
                label,
                format!(
                    "  {} {} {} in {}: {why}",
                    v.snapshot.short(),
                    v.time,
                    v.resource,
                    v.repository
                ),
            );
        }
    }
    out
}
