//! Rust text as tokens with their lines: comments and strings cannot be taken for code.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use std::str::FromStr;

/// One token; delimiters and punctuation are tokens of one character.
pub struct Token {
    pub text: String,
    pub line: usize,
    /// True inside an item under `#[cfg(test)]`.
    pub in_test: bool,
}

/// One function with a body.
pub struct Function {
    pub name: String,
    pub line: usize,
    /// Lines from `fn` to the closing brace, both counted.
    pub lines: usize,
}

/// What one file holds.
#[derive(Default)]
pub struct Lexed {
    pub tokens: Vec<Token>,
    pub functions: Vec<Function>,
    /// Names in `#[cfg(test)] mod name;`.
    pub test_modules: Vec<String>,
}

/// Reads `text`; the error says where it is not Rust.
pub fn lex(text: &str) -> Result<Lexed, String> {
    let stream = TokenStream::from_str(text).map_err(|error| error.to_string())?;
    let mut lexed = Lexed::default();
    lexed.walk(stream, false);
    Ok(lexed)
}

impl Lexed {
    fn walk(&mut self, stream: TokenStream, in_test: bool) {
        let trees: Vec<TokenTree> = stream.into_iter().collect();
        // The item after `#[cfg(test)]` reaches to its braces or its semicolon.
        let mut under_test_attribute = false;
        for (at, tree) in trees.iter().enumerate() {
            let in_test = in_test || under_test_attribute;
            match tree {
                TokenTree::Group(group) => {
                    under_test_attribute |= is_test_attribute(&trees, at);
                    self.walk_group(group, in_test);
                    if group.delimiter() == Delimiter::Brace {
                        under_test_attribute = false;
                    }
                }
                TokenTree::Ident(ident) => {
                    if ident == "fn" {
                        self.functions.extend(function_at(&trees[at..]));
                    }
                    if ident == "mod" && under_test_attribute {
                        self.test_modules.extend(declared_module(&trees[at..]));
                    }
                    self.push(ident.to_string(), tree, in_test);
                }
                TokenTree::Punct(punct) => {
                    self.push(punct.as_char().to_string(), tree, in_test);
                    under_test_attribute &= punct.as_char() != ';';
                }
                TokenTree::Literal(literal) => self.push(literal.to_string(), tree, in_test),
            }
        }
    }

    fn walk_group(&mut self, group: &Group, in_test: bool) {
        let (open, close) = match group.delimiter() {
            Delimiter::Parenthesis => ("(", ")"),
            Delimiter::Brace => ("{", "}"),
            Delimiter::Bracket => ("[", "]"),
            Delimiter::None => ("", ""),
        };
        let token = |text: &str, line| Token { text: text.to_owned(), line, in_test };
        self.tokens.push(token(open, group.span_open().start().line));
        self.walk(group.stream(), in_test);
        self.tokens.push(token(close, group.span_close().start().line));
    }

    fn push(&mut self, text: String, tree: &TokenTree, in_test: bool) {
        self.tokens.push(Token { text, line: tree.span().start().line, in_test });
    }
}

/// Whether the group at `at` is the `[cfg(test)]` of an outer attribute.
fn is_test_attribute(trees: &[TokenTree], at: usize) -> bool {
    let hash = at.checked_sub(1).and_then(|before| trees.get(before));
    let follows_hash = matches!(hash, Some(TokenTree::Punct(punct)) if punct.as_char() == '#');
    let words = trees[at].to_string().replace(char::is_whitespace, "");
    follows_hash && (words == "[cfg(test)]" || words.starts_with("[cfg(all(test,"))
}

/// The function that starts with the `fn` in front of `trees`, if it has a name and a body.
fn function_at(trees: &[TokenTree]) -> Option<Function> {
    let (TokenTree::Ident(word), TokenTree::Ident(name)) = (trees.first()?, trees.get(1)?) else {
        return None;
    };
    for tree in trees {
        match tree {
            TokenTree::Punct(punct) if punct.as_char() == ';' => return None,
            TokenTree::Group(body) if body.delimiter() == Delimiter::Brace => {
                let line = word.span().start().line;
                let lines = body.span_close().end().line - line + 1;
                return Some(Function { name: name.to_string(), line, lines });
            }
            _ => {}
        }
    }
    None
}

/// The name in `mod name;`.
fn declared_module(trees: &[TokenTree]) -> Option<String> {
    match (trees.get(1)?, trees.get(2)?) {
        (TokenTree::Ident(name), TokenTree::Punct(end)) if end.as_char() == ';' => {
            Some(name.to_string())
        }
        _ => None,
    }
}

#[test]
fn functions_are_measured_from_signature_to_brace() {
    let text = "trait A {\n fn none(&self);\n}\nfn two() {\n}\nfn three(\n) -> fn(u8) -> u8 {\n}";
    let functions = lex(text).expect("valid").functions;
    let found: Vec<_> = functions.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect();
    assert_eq!(found, [("two", 4, 2), ("three", 6, 3)]);
}

#[test]
fn an_attribute_for_tests_reaches_to_the_end_of_its_item_and_no_further() {
    let text =
        "#[cfg(test)]\nmod tests { fn a() { x } }\nfn b() { y }\n#[cfg(test)] use z;\nuse w;";
    let lexed = lex(text).expect("valid");
    let in_test = |name: &str| lexed.tokens.iter().find(|t| t.text == name).map(|t| t.in_test);
    assert_eq!(["x", "y", "z", "w"].map(in_test), [true, false, true, false].map(Some));
}

#[test]
fn comments_and_strings_are_not_code() {
    let text = "// fn a() {}\nfn b() { \"fn c() { }\" }";
    assert_eq!(lex(text).expect("valid").functions.len(), 1);
}
