//! What every recovery must do, whatever the type: one function that panics with the broken rule.
//! Called by the tests of folders, SQLite, PostgreSQL
//! and the simulated things.

use model::agent::Agent;
use model::cancel::Cancel;
use model::id::TargetRef;
use model::ports::Boxed;
use model::ports::agents::{Agents, Beside, OnTarget};

/// A thing of some type whose content can be told apart.
pub trait Subject: Sync {
    /// Returns the rendered agent.
    fn agent(&self) -> Agent;
    /// Puts content that reads as `original` in place.
    fn reset(&self) -> Boxed<'_, ()>;
    /// Takes the thing away wholly.
    fn lose(&self) -> Boxed<'_, ()>;
    /// Fills the place beside with content that reads as `restored`.
    fn load(&self, beside: Beside) -> Boxed<'_, ()>;
    /// Reads the content; `None` when the thing is not there.
    fn read(&self) -> Boxed<'_, Option<String>>;
}

/// Makes the agents anew, as after a start.
pub type Make<'a> = dyn Fn() -> Box<dyn Agents> + Sync + 'a;

/// One recovery, each step on agents made anew, as after a crash.
struct Run<'a> {
    make: &'a Make<'a>,
    target: TargetRef,
    agent: Agent,
    token: &'a str,
    cancel: Cancel,
}

macro_rules! step {
    ($run:expr, $step:ident) => {
        ($run.make)().$step(&$run.target, &$run.agent, $run.token, &$run.cancel).await
    };
}

impl Run<'_> {
    async fn expect_state(&self, expected: OnTarget, when: &str) {
        let state = step!(self, recovery_state).expect("the state is told");
        assert_eq!(state, expected, "{when}");
    }

    async fn restore(&self, subject: &dyn Subject) {
        self.expect_state(OnTarget::Nothing, "before anything").await;
        drop(step!(self, prepare).expect("a place is made"));
        self.expect_state(OnTarget::Beside, "after prepare").await;
        let beside = step!(self, prepare).expect("a place is made again");
        subject.load(beside).await;
        self.expect_state(OnTarget::Beside, "after the load").await;
        step!(self, inspect).expect("what was restored is looked at");
    }

    async fn swap(&self, subject: &dyn Subject) -> Option<String> {
        let kept = step!(self, swap).expect("it is swapped in");
        self.expect_state(OnTarget::Swapped, "after the swap").await;
        let again = step!(self, swap).expect("a second swap changes nothing");
        assert_eq!(kept, again, "the original is kept in one place");
        assert_eq!(subject.read().await.as_deref(), Some("restored"), "after the swap");
        assert!(step!(self, discard).is_err(), "what is in place is not discarded");
        assert!(step!(self, prepare).is_err(), "nor prepared over");
        kept
    }

    async fn undo(&self) {
        step!(self, rollback).expect("it is rolled back");
        step!(self, rollback).expect("twice");
        self.expect_state(OnTarget::Nothing, "after the rollback").await;
    }
}

/// Runs the suite.
///
/// # Panics
/// Panics when the recovery breaks a rule.
pub async fn conformance(make: &Make<'_>, subject: &dyn Subject) {
    let run = |token| Run {
        make,
        target: "host/test".parse().expect("a name"),
        agent: subject.agent(),
        token,
        cancel: Cancel::default(),
    };
    over_the_original(&run("back and forth"), subject).await;
    committed(&run("../odd token\n"), subject).await;
    discarded(&run("never swapped"), subject).await;
    where_nothing_was(&run("lost"), &run("lost again"), subject).await;
}

async fn over_the_original(run: &Run<'_>, subject: &dyn Subject) {
    subject.reset().await;
    run.restore(subject).await;
    assert_eq!(subject.read().await.as_deref(), Some("original"), "until the swap");
    assert!(run.swap(subject).await.is_some(), "the original is kept");
    run.undo().await;
    assert_eq!(subject.read().await.as_deref(), Some("original"), "after the rollback");
}

async fn committed(run: &Run<'_>, subject: &dyn Subject) {
    subject.reset().await;
    run.restore(subject).await;
    run.swap(subject).await;
    step!(run, commit).expect("it is committed");
    step!(run, commit).expect("twice");
    run.expect_state(OnTarget::Nothing, "after the commit").await;
    assert_eq!(subject.read().await.as_deref(), Some("restored"), "after the commit");
}

async fn discarded(run: &Run<'_>, subject: &dyn Subject) {
    subject.reset().await;
    assert!(step!(run, swap).is_err(), "nothing restored is nothing to swap");
    run.restore(subject).await;
    step!(run, discard).expect("it is discarded");
    step!(run, discard).expect("twice");
    run.expect_state(OnTarget::Nothing, "after the discard").await;
    assert_eq!(subject.read().await.as_deref(), Some("original"), "the original was not touched");
}

async fn where_nothing_was(first: &Run<'_>, second: &Run<'_>, subject: &dyn Subject) {
    subject.lose().await;
    first.restore(subject).await;
    assert_eq!(first.swap(subject).await, None, "there was nothing to keep");
    first.undo().await;
    assert_eq!(subject.read().await, None, "it is gone as before");
    second.restore(subject).await;
    second.swap(subject).await;
    step!(second, commit).expect("it is committed");
    assert_eq!(subject.read().await.as_deref(), Some("restored"), "it is back for good");
}
