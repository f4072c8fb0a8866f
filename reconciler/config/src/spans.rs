//! Where every key and value of a document is written: a tree beside the value, built from the
//! events of a parser that has positions. Also the place where what YAML allows and Mainstay does
//! not (duplicate keys, tags, merge keys, bombs) is found.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// Deepest nesting. The deepest real document (an AgentTemplate) has nine levels.
pub const DEPTH_MAX: usize = 32;

/// Most keys and values in one document, aliases expanded: what stops an alias bomb. A thousand
/// resources with all their fields are about 20,000.
pub const NODES_MAX: usize = 100_000;

/// Where something is written: line and column from 1, width in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spot {
    /// The line in the file.
    pub line: u32,
    /// The column, in characters.
    pub column: u32,
    /// How many characters of that line.
    pub width: u32,
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Shape {
    /// Text, number, boolean or nothing.
    Scalar,
    /// Keys with their spots, in the order of the text.
    Map(Vec<(String, Spot, Node)>),
    /// Items.
    List(Vec<Node>),
}

/// A value and where it is.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it begins.
    pub spot: Spot,
    /// What it is.
    pub shape: Shape,
    /// How many nodes it is, itself included.
    size: usize,
}

impl Node {
    /// Returns the child under a key or index.
    pub fn child(&self, segment: &str) -> Option<&Node> {
        match &self.shape {
            Shape::Scalar => None,
            Shape::Map(entries) => entries.iter().find(|e| e.0 == segment).map(|e| &e.2),
            Shape::List(items) => segment.parse::<usize>().ok().and_then(|i| items.get(i)),
        }
    }

    /// Returns the spot of a key.
    pub fn key(&self, key: &str) -> Option<Spot> {
        match &self.shape {
            Shape::Map(entries) => entries.iter().find(|e| e.0 == key).map(|e| e.1),
            _ => None,
        }
    }

    /// Returns the spot of what a JSON pointer names: the value, or the nearest thing around it
    /// that exists. With `key`, the spot of its key where it has one.
    pub fn find(&self, pointer: &str, key: bool) -> Spot {
        let mut node = self;
        let mut spot = self.spot;
        for segment in pointer.split('/').skip(1) {
            let segment = unescape(segment);
            let Some(child) = node.child(&segment) else { return spot };
            spot = match node.key(&segment) {
                Some(at) if key || child.spot.width == 0 => at,
                _ => child.spot,
            };
            node = child;
        }
        spot
    }
}

/// Returns a key as a segment of a JSON pointer.
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Returns the key that a segment of a JSON pointer names.
pub fn unescape(segment: &str) -> String {
    segment.replace("~1", "/").replace("~0", "~")
}

/// What is wrong with the text itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It is not YAML.
    Syntax(String),
    /// A key occurs twice; where it was first.
    DuplicateKey(String, Spot),
    /// A plain word that YAML 1.1 tools read as a boolean.
    Boolean(String),
    /// The same, as a key.
    BooleanKey(String),
    /// `<<`.
    MergeKey,
    /// A tag such as `!include`.
    Tag(String),
    /// A key that is no text.
    Key,
    /// An alias without anchor before it.
    Alias,
    /// Deeper than [`DEPTH_MAX`].
    Deep,
    /// More than [`NODES_MAX`] nodes.
    Large,
}

impl Flaw {
    /// Returns whether the value of the document cannot be trusted or read any more.
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Flaw::Boolean(_) | Flaw::BooleanKey(_) | Flaw::DuplicateKey(..))
    }
}

/// The tree of one document and what is wrong with it. `root` is `None` when there is no document.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The tree.
    pub root: Option<Node>,
    /// The flaws, in the order of the text.
    pub flaws: Vec<(Spot, Flaw)>,
}

/// A collection that is still open.
struct Open {
    spot: Spot,
    anchor: usize,
    size: usize,
    /// `None` for a list.
    keys: Option<Keys>,
    items: Vec<Node>,
}

#[derive(Default)]
struct Keys {
    done: Vec<(String, Spot)>,
    seen: HashSet<String>,
    /// The key whose value comes next.
    pending: bool,
}

struct Builder<'t> {
    lines: Vec<&'t str>,
    line_first: u32,
    stack: Vec<Open>,
    anchors: HashMap<usize, (Node, Option<String>)>,
    nodes: usize,
    parsed: Parsed,
}

/// Parses one document that begins at line `line_first` of its file.
pub fn parse(text: &str, line_first: u32) -> Parsed {
    let mut builder = Builder {
        lines: text.lines().collect(),
        line_first,
        stack: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        parsed: Parsed::default(),
    };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => {
                if let Err((spot, flaw)) = builder.event(event, span) {
                    builder.parsed.flaws.push((spot, flaw));
                    builder.parsed.root = None;
                    break;
                }
            }
            Err(error) => {
                let at = error.marker();
                let spot = builder.spot_at(at.line(), at.col(), 1);
                // The parser knows the anchors and says so in no other way.
                let flaw = match error.info() {
                    info if info.contains("unknown anchor") => Flaw::Alias,
                    info => Flaw::Syntax(info.to_owned()),
                };
                builder.parsed.flaws.push((spot, flaw));
                builder.parsed.root = None;
                break;
            }
        }
    }
    builder.parsed
}

type Step = Result<(), (Spot, Flaw)>;

impl Builder<'_> {
    fn spot_at(&self, line: usize, column: usize, width: u32) -> Spot {
        let line = u32::try_from(line.max(1) - 1).unwrap_or(u32::MAX);
        Spot {
            line: self.line_first.saturating_add(line),
            column: u32::try_from(column).unwrap_or(u32::MAX).saturating_add(1),
            width,
        }
    }

    fn spot(&self, span: &Span) -> Spot {
        let (start, end) = (span.start, span.end);
        let width = if end.line() == start.line() {
            end.col().saturating_sub(start.col())
        } else {
            // A value over several lines is marked to the end of its first.
            let line = self.lines.get(start.line().max(1) - 1).unwrap_or(&"");
            line.trim_end().chars().count().saturating_sub(start.col())
        };
        self.spot_at(start.line(), start.col(), u32::try_from(width).unwrap_or(1))
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Step {
        let spot = self.spot(&span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.tag(tag.as_deref(), spot)?;
                if style == ScalarStyle::Plain && is_loose_boolean(&text) {
                    let word = text.to_string();
                    let flaw = match self.is_key() {
                        true => Flaw::BooleanKey(word),
                        false => Flaw::Boolean(word),
                    };
                    self.parsed.flaws.push((spot, flaw));
                }
                let node = Node { spot, shape: Shape::Scalar, size: 1 };
                self.count(1, spot)?;
                if anchor > 0 {
                    self.anchors.insert(anchor, (node.clone(), Some(text.to_string())));
                }
                self.place(node, Some(&text), style == ScalarStyle::Plain)
            }
            Event::Alias(anchor) => {
                let Some((node, text)) = self.anchors.get(&anchor) else {
                    return Err((spot, Flaw::Alias));
                };
                let (size, text) = (node.size, text.clone());
                self.count(size, spot)?;
                let Some((node, _)) = self.anchors.get(&anchor) else { return Ok(()) };
                let mut node = node.clone();
                node.spot = spot;
                self.place(node, text.as_deref(), false)
            }
            Event::SequenceStart(anchor, tag) => {
                self.tag(tag.as_deref(), spot)?;
                self.open(Open { spot, anchor, size: 1, keys: None, items: Vec::new() })
            }
            Event::MappingStart(anchor, tag) => {
                self.tag(tag.as_deref(), spot)?;
                let keys = Some(Keys::default());
                self.open(Open { spot, anchor, size: 1, keys, items: Vec::new() })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            _ => Ok(()),
        }
    }

    /// Returns whether the next node is a key.
    fn is_key(&self) -> bool {
        let open = self.stack.last();
        open.and_then(|open| open.keys.as_ref()).is_some_and(|keys| !keys.pending)
    }

    fn tag(&self, tag: Option<&saphyr_parser::Tag>, spot: Spot) -> Step {
        match tag {
            // Core tags (`!!str`) say how to read a scalar and harm nobody.
            Some(tag) if !tag.is_yaml_core_schema() => {
                Err((spot, Flaw::Tag(format!("{}{}", tag.handle, tag.suffix))))
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, nodes: usize, spot: Spot) -> Step {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX { Err((spot, Flaw::Large)) } else { Ok(()) }
    }

    fn open(&mut self, open: Open) -> Step {
        self.count(1, open.spot)?;
        // A collection as a key would have to be compared with other keys by content.
        if self.is_key() {
            return Err((open.spot, Flaw::Key));
        }
        if self.stack.len() >= DEPTH_MAX {
            return Err((open.spot, Flaw::Deep));
        }
        self.stack.push(open);
        Ok(())
    }

    fn close(&mut self) -> Step {
        let Some(open) = self.stack.pop() else { return Ok(()) };
        let shape = match open.keys {
            Some(keys) => Shape::Map(
                keys.done.into_iter().zip(open.items).map(|((k, s), node)| (k, s, node)).collect(),
            ),
            None => Shape::List(open.items),
        };
        let node = Node { spot: open.spot, shape, size: open.size };
        if open.anchor > 0 {
            self.anchors.insert(open.anchor, (node.clone(), None));
        }
        self.place(node, None, false)
    }

    /// Puts a finished node where it belongs: a key, a value, an item or the root.
    fn place(&mut self, node: Node, text: Option<&str>, plain: bool) -> Step {
        let Some(open) = self.stack.last_mut() else {
            if self.parsed.root.is_none() {
                self.parsed.root = Some(node);
            }
            return Ok(());
        };
        open.size = open.size.saturating_add(node.size);
        let Some(keys) = &mut open.keys else {
            open.items.push(node);
            return Ok(());
        };
        if keys.pending {
            keys.pending = false;
            open.items.push(node);
            return Ok(());
        }
        let Some(key) = text else { return Err((node.spot, Flaw::Key)) };
        if plain && key == "<<" {
            return Err((node.spot, Flaw::MergeKey));
        }
        if !keys.seen.insert(key.to_owned()) {
            let first = keys.done.iter().find(|(k, _)| k == key).map(|(_, spot)| *spot);
            let flaw = Flaw::DuplicateKey(key.to_owned(), first.unwrap_or_default());
            self.parsed.flaws.push((node.spot, flaw));
        }
        keys.done.push((key.to_owned(), node.spot));
        keys.pending = true;
        Ok(())
    }
}

/// Returns whether YAML 1.1 tools read a plain word as a boolean and YAML 1.2 tools as text.
fn is_loose_boolean(text: &str) -> bool {
    matches!(
        text,
        "yes" | "Yes" | "YES" | "no" | "No" | "NO" | "on" | "On" | "ON" | "off" | "Off" | "OFF"
    )
}
