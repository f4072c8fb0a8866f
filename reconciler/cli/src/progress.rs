//! Shows what happens while a plan runs: bars on a terminal, one line per step elsewhere, JSON
//! lines when data is JSON.

use std::collections::BTreeMap;
use std::sync::Mutex;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use model::id::StepId;
use model::journal::Outcome;
use model::progress::Progress;
use runtime::{Observer, RunEvent};

use crate::human;
use crate::ui::Ui;

/// Bars for people.
pub struct Bars {
    ui: Ui,
    multi: MultiProgress,
    bars: Mutex<BTreeMap<StepId, ProgressBar>>,
    /// Without a terminal there are lines only.
    drawn: bool,
}

impl Bars {
    /// Returns bars on this terminal.
    pub fn new(ui: &Ui) -> Self {
        Self {
            ui: ui.clone(),
            multi: MultiProgress::new(),
            bars: Mutex::new(BTreeMap::new()),
            drawn: ui.watches(),
        }
    }

    fn line(&self, text: String) {
        if self.drawn {
            // Above the bars, so that neither tears the other.
            drop(self.multi.println(text));
        } else {
            self.ui.say(text);
        }
    }

    fn begin(&self, step: &StepId, index: usize, total: usize) {
        if !self.drawn {
            return;
        }
        let bar = self.multi.add(ProgressBar::new(0));
        let style = ProgressStyle::with_template(
            "{spinner} {prefix} {wide_msg} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        );
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.set_prefix(format!("[{index}/{total}]"));
        bar.set_message(step.to_string());
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        if let Ok(mut bars) = self.bars.lock() {
            bars.insert(step.clone(), bar);
        }
    }

    fn progress(&self, step: &StepId, progress: &Progress) {
        let Ok(bars) = self.bars.lock() else { return };
        let Some(bar) = bars.get(step) else { return };
        match progress {
            Progress::Counts(counts) => {
                bar.set_length(counts.bytes_total.max(counts.bytes_done));
                bar.set_position(counts.bytes_done);
                bar.set_message(format!("{step}  {} files", counts.files_done));
            }
            Progress::Phase { name } => bar.set_message(format!("{step}  {name}")),
            Progress::ItemFailed { .. } => {}
        }
    }

    fn end(&self, step: &StepId, outcome: &Outcome) {
        let bar = self.bars.lock().ok().and_then(|mut bars| bars.remove(step));
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        for line in describe(step, outcome) {
            self.line(line);
        }
    }
}

/// Returns the lines that say how a step ended.
fn describe(step: &StepId, outcome: &Outcome) -> Vec<String> {
    match outcome {
        Outcome::Done { summary, duration_ms, .. } => {
            vec![format!("  done     {step}  ({}) {summary}", millis(*duration_ms))]
        }
        Outcome::Partial { summary, failures, failures_count, .. } => {
            let mut lines = vec![format!(
                "  PARTIAL  {step}  {summary}; {failures_count} items are not in it:"
            )];
            lines.extend(
                failures.iter().take(10).map(|f| format!("             {}: {}", f.item, f.error)),
            );
            if *failures_count > 10 {
                lines.push("             … (`mainstay explain` names more)".into());
            }
            lines
        }
        Outcome::Failed { class, reason, error, hint } => {
            let mut lines = vec![format!("  FAILED   {step}  {error} [{reason}, {class}]")];
            lines.extend(hint.iter().map(|h| format!("             hint: {h}")));
            lines
        }
        Outcome::Skipped { why } => vec![format!("  skipped  {step}  {why}")],
    }
}

fn millis(count: u64) -> String {
    if count < 10_000 {
        format!("{}.{} s", count / 1000, count % 1000 / 100)
    } else {
        human::seconds(count / 1000)
    }
}

impl Observer for Bars {
    fn event(&self, event: RunEvent) {
        match event {
            RunEvent::StepBegan { step, total, index } => self.begin(&step, index, total),
            RunEvent::StepProgress { step, progress } => self.progress(&step, &progress),
            RunEvent::StepReached { step, phase } => {
                self.progress(&step, &Progress::Phase { name: phase });
            }
            RunEvent::StepEnded { step, outcome } => self.end(&step, &outcome),
            RunEvent::Note { text } => self.line(text),
            RunEvent::Fetched { .. }
            | RunEvent::Observing { .. }
            | RunEvent::Planned { .. }
            | RunEvent::Ended { .. } => {}
        }
    }
}

/// One JSON object per line on standard output.
pub struct JsonLines {
    /// Where to.
    pub ui: Ui,
}

impl Observer for JsonLines {
    fn event(&self, event: RunEvent) {
        if let Ok(line) = serde_json::to_string(&event) {
            self.ui.out(line);
        }
    }
}

/// The bar of one piece of work by hand; gone when dropped.
pub struct Bar(Option<ProgressBar>);

impl Bar {
    /// Shows a bar where a person watches.
    pub fn new(ui: &Ui) -> Self {
        let bar = ui.watches().then(|| {
            let bar = ProgressBar::new(0);
            let template = "{spinner} {wide_msg} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(std::time::Duration::from_millis(120));
            bar
        });
        Self(bar)
    }
}

impl model::progress::ProgressSink for Bar {
    fn event(&self, event: Progress) {
        let Some(bar) = &self.0 else { return };
        match event {
            Progress::Counts(counts) => {
                bar.set_length(counts.bytes_total.max(counts.bytes_done));
                bar.set_position(counts.bytes_done);
            }
            Progress::Phase { name } => bar.set_message(name),
            Progress::ItemFailed { .. } => {}
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}
