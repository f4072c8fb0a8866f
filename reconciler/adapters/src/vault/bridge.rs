//! Lets work on a thread call back into borrowed things of the async side: progress and the last
//! word on a receipt. The work owns a [`Caller`]; the waiting future answers its calls.

use model::error::PortError;
use model::ports::Boxed;
use model::progress::{Progress, ProgressSink};
use model::receipt::Receipt;
use tokio::sync::{mpsc, oneshot};

/// Calls that may wait for an answer; the engine sends progress at a bounded rate.
const CALLS_MAX: usize = 256;

/// Changes a receipt.
pub(super) type Judge<'a> = &'a (dyn Fn(&mut Receipt) + Send + Sync);

enum Call {
    Progress(Progress),
    Judge(Box<Receipt>, oneshot::Sender<Receipt>),
}

/// The thread's side.
pub(super) struct Caller(mpsc::Sender<Call>);

impl ProgressSink for Caller {
    fn event(&self, event: Progress) {
        // Nobody waits for the work any more: nobody wants to see it.
        let _ = self.0.blocking_send(Call::Progress(event));
    }
}

impl Caller {
    /// Has the receipt judged.
    pub(super) fn judge(&self, receipt: Receipt) -> Result<Receipt, PortError> {
        let (answer, answered) = oneshot::channel();
        self.0
            .blocking_send(Call::Judge(Box::new(receipt), answer))
            .map_err(|_| PortError::cancelled())?;
        answered.blocking_recv().map_err(|_| PortError::cancelled())
    }
}

/// Starts work with a caller and answers its calls until it ends.
pub(super) async fn run<T, F>(
    progress: &dyn ProgressSink,
    judge: Judge<'_>,
    start: F,
) -> Result<T, PortError>
where
    F: FnOnce(Caller) -> Boxed<'static, Result<T, PortError>>,
{
    let (sender, mut calls) = mpsc::channel(CALLS_MAX);
    let mut work = start(Caller(sender));
    let answer = |call| match call {
        Call::Progress(event) => progress.event(event),
        Call::Judge(mut receipt, answer) => {
            judge(&mut receipt);
            let _ = answer.send(*receipt);
        }
    };
    loop {
        tokio::select! {
            result = &mut work => {
                while let Ok(call) = calls.try_recv() {
                    answer(call);
                }
                return result;
            }
            Some(call) = calls.recv() => answer(call),
        }
    }
}
