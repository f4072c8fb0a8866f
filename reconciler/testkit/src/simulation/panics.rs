//! Panics of one run, those too that somebody catches: a world in which our own code breaks off has
//! found something. A run has one thread, so its panics are that thread's.

use std::cell::RefCell;
use std::sync::Once;

thread_local! {
    static SEEN: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Begins to watch this thread.
pub fn watch() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            SEEN.with_borrow_mut(|seen| seen.push(info.to_string().replace('\n', " ")));
            before(info);
        }));
    });
    SEEN.with_borrow_mut(Vec::clear);
}

/// Returns what broke off on this thread since it is watched, and forgets it.
pub fn seen() -> Vec<String> {
    SEEN.take()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caught_panic_is_seen() {
        watch();
        let broke_off = std::panic::catch_unwind(|| panic!("this one is expected"));
        assert!(broke_off.is_err());
        assert!(seen()[0].contains("this one is expected"));
        assert!(seen().is_empty());
    }
}
