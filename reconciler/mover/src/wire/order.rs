//! What a walk can be: directories nest, names are single components in byte order, none comes
//! twice. Held against every walk that comes from another host, which may be wrong or hostile.

use model::error::PortError;
use model::ports::mover::{EntryKind, WalkEvent};

use super::broken;

/// Directory levels; the kernel's longest path has fewer.
const DEPTH_MAX: usize = 2100;

/// Where a walk is.
#[derive(Default)]
pub(super) struct Order {
    /// The last name met in each open directory.
    open: Vec<Option<Vec<u8>>>,
    begun: bool,
}

impl Order {
    /// Takes the next event.
    pub fn check(&mut self, event: &WalkEvent) -> Result<(), PortError> {
        match event {
            WalkEvent::Enter(entry) => {
                if entry.kind != EntryKind::Directory {
                    return Err(broken("a walk enters what is no directory"));
                }
                if self.open.is_empty() {
                    if self.begun || !entry.name.is_empty() {
                        return Err(broken("a walk has more than one root"));
                    }
                    self.begun = true;
                } else {
                    self.name(&entry.name)?;
                }
                if self.open.len() >= DEPTH_MAX {
                    return Err(broken("a walk goes too deep"));
                }
                self.open.push(None);
                Ok(())
            }
            WalkEvent::Entry(entry) if entry.kind == EntryKind::Directory => {
                Err(broken("a walk passes a directory without entering it"))
            }
            WalkEvent::Entry(entry) => self.name(&entry.name),
            WalkEvent::Leave => match self.open.pop() {
                Some(_) => Ok(()),
                None => Err(broken("a walk leaves what it did not enter")),
            },
            WalkEvent::Failed(_) => Ok(()),
        }
    }

    /// Whether the walk may end here.
    pub fn end(&self) -> Result<(), PortError> {
        if self.open.is_empty() { Ok(()) } else { Err(broken("a walk ends inside a directory")) }
    }

    fn name(&mut self, name: &[u8]) -> Result<(), PortError> {
        let shown = || name.escape_ascii();
        let bad = name.is_empty() || name == b"." || name == b".." || name.len() > 4096;
        if bad || name.iter().any(|b| matches!(b, b'/' | 0)) {
            return Err(broken(format!("`{}` is no name of an entry", shown())));
        }
        let Some(last) = self.open.last_mut() else {
            return Err(broken(format!("`{}` is in no directory", shown())));
        };
        if last.as_deref().is_some_and(|last| last >= name) {
            return Err(broken(format!("`{}` is out of order or comes twice", shown())));
        }
        *last = Some(name.to_vec());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use model::ports::mover::Entry;

    use super::*;

    fn dir(name: &str) -> WalkEvent {
        WalkEvent::Enter(Entry { name: name.into(), ..crate::walk::top() })
    }

    fn file(name: &str) -> WalkEvent {
        let kind = EntryKind::File;
        WalkEvent::Entry(Entry { name: name.into(), kind, ..crate::walk::top() })
    }

    fn fault(events: &[WalkEvent]) -> Option<String> {
        let mut order = Order::default();
        let checked = events.iter().try_for_each(|e| order.check(e)).and_then(|()| order.end());
        checked.err().map(|e| e.message)
    }

    #[test]
    fn a_walk_nests_and_sorts() {
        use WalkEvent::Leave;
        assert_eq!(
            fault(&[dir(""), file("a"), dir("b"), file("a"), Leave, file("c"), Leave]),
            None
        );
        for (events, what) in [
            (vec![dir(""), file("b"), file("a"), Leave], "`a` is out of order or comes twice"),
            (
                vec![dir(""), file("a"), dir("a"), Leave, Leave],
                "`a` is out of order or comes twice",
            ),
            (vec![dir(""), file("../x"), Leave], "`../x` is no name of an entry"),
            (vec![dir(""), dir(".."), Leave, Leave], "`..` is no name of an entry"),
            (vec![dir(""), file("")], "`` is no name of an entry"),
            (vec![dir(""), file("a\0"), Leave], "`a\\x00` is no name of an entry"),
            (vec![dir(""), Leave, dir(""), Leave], "a walk has more than one root"),
            (vec![dir("x"), Leave], "a walk has more than one root"),
            (vec![file("a")], "`a` is in no directory"),
            (vec![Leave], "a walk leaves what it did not enter"),
            (vec![dir("")], "a walk ends inside a directory"),
            (
                vec![WalkEvent::Enter(Entry { kind: EntryKind::File, ..crate::walk::top() })],
                "a walk enters what is no directory",
            ),
            (
                vec![dir(""), WalkEvent::Entry(crate::walk::top())],
                "a walk passes a directory without entering it",
            ),
            (
                vec![dir(""); 1].into_iter().chain(vec![dir("d"); DEPTH_MAX]).collect(),
                "a walk goes too deep",
            ),
        ] {
            assert_eq!(fault(&events).as_deref(), Some(what));
        }
    }
}
