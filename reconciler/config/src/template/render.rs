//! Renders a template for one resource: parameters in, typed commands out.

use std::collections::BTreeMap;

use minijinja::value::Value;
use model::agent::{
    Agent, Arg, Chunking, Command, ErrorRule, ErrorRuleClass, Load, Piece, RecoverySteps, Session,
    Stream, Tree,
};
use model::diagnostic::Diagnostic;
use serde_json::Value as Json;

use crate::diagnostics::{self as d, Place};
use crate::documents::{ArgSpec, ChunkingSpec, CommandSpec, ErrorClassSpec};
use crate::lower::text as shapes;
use crate::template::parameters::{self, Bound, Misfit};
use crate::template::{Template, engine};
use crate::units;

/// Most arguments of one command: a fraction of what Linux takes.
const ARGUMENTS_MAX: usize = 10_000;

/// What became of a resource's `with`; `None` where a diagnostic says why.
pub type Rendered = Option<Agent>;

/// A part of a resource whose place may be needed.
#[derive(Clone, Copy, Debug)]
pub enum Where<'k> {
    /// Its type.
    Type,
    /// The name of a parameter.
    Key(&'k str),
    /// The value of a parameter.
    Value(&'k str),
}

/// What is rendered, where its parameters stand, and where to say what is wrong.
struct Job<'a, 'd> {
    template: &'a Template<'d>,
    context: Value,
    resource: &'a str,
    /// Where the resource names its type.
    at: Place,
    found: &'a mut Vec<Diagnostic>,
    /// How much was found before this job.
    before: usize,
}

impl<'d> Template<'d> {
    /// Renders the template for a resource; what is wrong is added to `found`.
    pub fn render(
        &self,
        resource: &str,
        with: &BTreeMap<String, Json>,
        place: &dyn Fn(Where<'_>) -> Place,
        found: &mut Vec<Diagnostic>,
    ) -> Rendered {
        let before = found.len();
        let bound = self.bind(with, place, found);
        if found.len() > before || self.broken {
            return None;
        }
        let mut values = parameters::absent(&self.spec.parameters);
        values.extend(bound.iter().map(|(key, bound)| (key.clone(), bound.value.clone())));
        let context = Value::from_pairs(engine::context(&values));
        let mut job =
            Job { template: self, context, resource, at: place(Where::Type), found, before };
        let agent = job.agent(bound);
        (found.len() == before).then_some(agent)
    }

    fn bind(
        &self,
        with: &BTreeMap<String, Json>,
        place: &dyn Fn(Where<'_>) -> Place,
        found: &mut Vec<Diagnostic>,
    ) -> BTreeMap<String, Bound> {
        let name = self.name.as_str();
        for key in with.keys().filter(|key| !self.spec.parameters.contains_key(*key)) {
            let known = self.parameter_names();
            found.push(d::parameter_unknown(place(Where::Key(key)), name, key, &known));
        }
        let mut bound = BTreeMap::new();
        for (key, spec) in &self.spec.parameters {
            let Some(value) = with.get(key).or(spec.default.as_ref()) else {
                if spec.required {
                    found.push(d::parameter_missing(
                        place(Where::Type),
                        name,
                        key,
                        &spec.description,
                    ));
                }
                continue;
            };
            match parameters::bind(spec, value) {
                Ok(value) => {
                    bound.insert(key.clone(), value);
                }
                Err(misfit) => found.push(misfitting(place(Where::Value(key)), key, misfit)),
            }
        }
        bound
    }
}

impl Job<'_, '_> {
    fn fail(&mut self, pointer: &str, why: &str) {
        let diagnostic = d::template_render(self.at.clone(), self.resource, why);
        let place = self.template.place(pointer);
        self.found.push(d::related(diagnostic, place, "this text of the template"));
    }

    fn agent(&mut self, bound: BTreeMap<String, Bound>) -> Agent {
        let spec = self.template.spec;
        let mut env = BTreeMap::new();
        for (key, text) in &spec.env {
            let value = self.text(&format!("/env/{key}"), text);
            if !value.0.is_empty() {
                env.insert(key.clone(), value);
            }
        }
        let streams = spec.streams.iter().enumerate().map(|(index, stream)| {
            let at = format!("/streams/{index}");
            Stream {
                name: self.plain(&format!("{at}/name"), &stream.name, "a stream's name"),
                command: self.command(
                    &at,
                    &stream.run,
                    stream.input.as_deref(),
                    stream.timeout.as_deref(),
                ),
                chunking: match stream.chunking {
                    ChunkingSpec::Content => Chunking::Content,
                    ChunkingSpec::Pages => Chunking::Pages,
                },
            }
        });
        let streams: Vec<Stream> = streams.collect();
        self.stream_names(&streams);
        Agent {
            template: self.template.name.clone(),
            template_digest: self.template.digest.clone(),
            with: bound.into_iter().map(|(key, bound)| (key, bound.shown)).collect(),
            env,
            tree: self.tree(),
            probe: self.commands("/probe", &spec.probe),
            session: spec
                .session
                .as_ref()
                .map(|session| Session { command: self.whole("/session", session) }),
            streams,
            recovery: self.recovery(),
            recreate: self.recreate(),
            errors: spec.errors.iter().map(error_rule).collect(),
        }
    }

    fn stream_names(&mut self, streams: &[Stream]) {
        for (index, stream) in streams.iter().enumerate() {
            let name = stream.name.as_str();
            if name.is_empty() || name == "." || name == ".." || name.contains('/') {
                self.fail(
                    &format!("/streams/{index}/name"),
                    "a stream's name must be one path component",
                );
            }
        }
    }

    fn recovery(&mut self) -> Option<RecoverySteps> {
        let recovery = self.template.spec.recovery.as_ref()?;
        let load = recovery.load.iter().enumerate().map(|(index, load)| {
            let at = format!("/recovery/load/{index}");
            Load {
                stream: self.plain(&format!("{at}/stream"), &load.stream, "a stream's name"),
                optional: load.optional,
                command: self.command(&at, &load.run, None, load.timeout.as_deref()),
            }
        });
        let load = load.collect();
        Some(RecoverySteps {
            load,
            state: self.commands("/recovery/state", &recovery.state),
            prepare: self.commands("/recovery/prepare", &recovery.prepare),
            verify: self.commands("/recovery/verify", &recovery.verify),
            swap: self.commands("/recovery/swap", &recovery.swap),
            commit: self.commands("/recovery/commit", &recovery.commit),
            rollback: self.commands("/recovery/rollback", &recovery.rollback),
            discard: self.commands("/recovery/discard", &recovery.discard),
        })
    }

    /// Leaves out commands of which nothing is left, so that one type can let each resource say
    /// whether and how it is made anew.
    fn recreate(&mut self) -> Vec<Command> {
        let mut kept = Vec::new();
        for (index, command) in self.template.spec.recreate.iter().enumerate() {
            let at = format!("/recreate/{index}");
            if !self.arguments(&at, &command.run).is_empty() {
                kept.push(self.whole(&at, command));
            }
        }
        kept
    }

    fn commands(&mut self, at: &str, commands: &[CommandSpec]) -> Vec<Command> {
        let mut rendered = Vec::with_capacity(commands.len());
        for (index, command) in commands.iter().enumerate() {
            rendered.push(self.whole(&format!("{at}/{index}"), command));
        }
        rendered
    }

    fn whole(&mut self, at: &str, command: &CommandSpec) -> Command {
        let (input, timeout) = (command.input.as_deref(), command.timeout.as_deref());
        self.command(at, &command.run, input, timeout)
    }

    fn command(
        &mut self,
        at: &str,
        run: &[ArgSpec],
        input: Option<&str>,
        timeout: Option<&str>,
    ) -> Command {
        let mut argv = self.arguments(at, run);
        if argv.len() > ARGUMENTS_MAX {
            self.fail(&format!("{at}/run"), "it has too many arguments");
            argv.clear();
        }
        let program = argv.first().map(|arg| arg.0.as_slice());
        if !matches!(program, Some([Piece::Text(_)])) && self.found.len() == self.before {
            self.fail(&format!("{at}/run"), "it names no program");
        }
        Command {
            argv,
            input: input.map(|text| self.text(&format!("{at}/input"), text)),
            timeout_s: timeout.and_then(units::duration_s).unwrap_or(0),
        }
    }

    fn arguments(&mut self, at: &str, run: &[ArgSpec]) -> Vec<Arg> {
        let mut argv = Vec::with_capacity(run.len());
        for (index, arg) in run.iter().enumerate() {
            self.argument(&format!("{at}/run/{index}"), arg, &mut argv);
        }
        argv
    }

    fn argument(&mut self, at: &str, arg: &ArgSpec, argv: &mut Vec<Arg>) {
        let some = match arg {
            ArgSpec::Text(text) => {
                argv.push(self.seen(at, text, None));
                return;
            }
            ArgSpec::Conditional(some) => some,
        };
        if let Some(when) = &some.when {
            match engine::evaluate(&self.template.env, when, &self.context) {
                Ok(value) if value.is_true() => {}
                Ok(_) => return,
                Err(why) => return self.fail(&format!("{at}/when"), &why),
            }
        }
        let mut items = vec![None];
        if let Some(each) = &some.each {
            let listed =
                engine::evaluate(&self.template.env, each, &self.context).and_then(|value| {
                    match value.is_none() {
                        true => Ok(Vec::new()),
                        false => value
                            .try_iter()
                            .map(|list| list.take(ARGUMENTS_MAX).map(Some).collect())
                            .map_err(|error| engine::words(&error)),
                    }
                });
            match listed {
                Ok(listed) => items = listed,
                Err(why) => return self.fail(&format!("{at}/each"), &why),
            }
        }
        for item in items {
            for (index, text) in some.args.iter().enumerate() {
                if argv.len() <= ARGUMENTS_MAX {
                    let arg = self.seen(&format!("{at}/args/{index}"), text, item.clone());
                    argv.push(arg);
                }
            }
        }
    }

    /// Renders a text that every user of the machine can read.
    fn seen(&mut self, at: &str, text: &str, item: Option<Value>) -> Arg {
        let arg = match item {
            None => self.text(at, text),
            Some(item) => {
                let item = Value::from_pairs([(engine::ITEM, item)]);
                let context = minijinja::context! { ..item, ..self.context.clone() };
                self.text_in(at, text, &context)
            }
        };
        for piece in &arg.0 {
            if let Piece::Secret(secret) = piece {
                self.found.push(d::secret_in_argument(self.template.place(at), &secret.0));
            }
        }
        arg
    }

    fn text(&mut self, at: &str, text: &str) -> Arg {
        let context = self.context.clone();
        self.text_in(at, text, &context)
    }

    fn text_in(&mut self, at: &str, text: &str, context: &Value) -> Arg {
        match engine::render(&self.template.env, text, context) {
            Ok(arg) => arg,
            Err(why) => {
                self.fail(at, &why);
                Arg::default()
            }
        }
    }

    /// Renders a text that must be known before execution.
    fn plain(&mut self, at: &str, text: &str, what: &str) -> String {
        match self.text(at, text).0.as_slice() {
            [] => String::new(),
            [Piece::Text(text)] => text.clone(),
            _ => {
                self.fail(at, &format!("{what} can have no holes and no secrets"));
                String::new()
            }
        }
    }

    fn tree(&mut self) -> Option<Tree> {
        let spec = self.template.spec.tree.as_ref()?;
        let before = self.found.len();
        let path = self.plain("/tree/path", &spec.path, "a path");
        match shapes::check_path(&path) {
            // What did not render has no shape.
            Err(why) if self.found.len() == before => {
                self.fail("/tree/path", &format!("`{path}` {why}"));
            }
            _ => {}
        }
        Some(Tree {
            path,
            excludes: self.texts("/tree/excludes", spec.excludes.as_ref()),
            exclude_caches: self.flag("/tree/excludeCaches", spec.exclude_caches.as_ref()),
            exclude_if_present: self
                .texts("/tree/excludeIfPresent", spec.exclude_if_present.as_ref()),
            one_file_system: self.flag("/tree/oneFileSystem", spec.one_file_system.as_ref()),
            largest_bytes: spec
                .largest
                .as_deref()
                .and_then(|text| self.size("/tree/largest", text)),
            mount_point: self.flag("/tree/mountPoint", spec.mount_point.as_ref()),
        })
    }

    /// Returns the value that a field of `tree` has: `{{ parameter }}` gives the parameter's own.
    fn native(&mut self, at: &str, value: &Json) -> Json {
        let Json::String(text) = value else { return value.clone() };
        let Some(expression) = engine::sole_expression(text) else {
            return Json::from(self.plain(at, text, "a field of `tree`"));
        };
        let value = engine::evaluate(&self.template.env, expression, &self.context)
            .and_then(|value| engine::to_json(&value).map_err(|error| engine::words(&error)));
        match value {
            Ok(value) => value,
            Err(why) => {
                self.fail(at, &why);
                Json::Null
            }
        }
    }

    fn texts(&mut self, at: &str, value: Option<&Json>) -> Vec<String> {
        let Some(value) = value else { return Vec::new() };
        let items = match self.native(at, value) {
            Json::Array(items) => items,
            Json::Null => Vec::new(),
            _ => {
                self.fail(at, "it must give a list");
                Vec::new()
            }
        };
        let literal = value.is_array();
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match item.as_str() {
                Some(text) if literal => {
                    texts.push(self.plain(&format!("{at}/{index}"), text, "a pattern"));
                }
                Some(text) => texts.push(text.to_owned()),
                None => self.fail(at, "its items must be texts"),
            }
        }
        texts
    }

    fn flag(&mut self, at: &str, value: Option<&Json>) -> bool {
        let Some(value) = value else { return false };
        match self.native(at, value) {
            Json::Bool(flag) => flag,
            Json::Null => false,
            _ => {
                self.fail(at, "it must give `true` or `false`");
                false
            }
        }
    }

    fn size(&mut self, at: &str, text: &str) -> Option<u64> {
        match self.native(at, &Json::from(text)) {
            Json::Null => None,
            Json::Number(number) if number.is_u64() => number.as_u64(),
            Json::String(text) if text.is_empty() => None,
            Json::String(text) => {
                let bytes = units::size_bytes(&text);
                if bytes.is_none() {
                    self.fail(at, units::SIZE_SHAPE);
                }
                bytes
            }
            _ => {
                self.fail(at, "it must give a size");
                None
            }
        }
    }
}

/// Returns the diagnostic for a value that does not fit its parameter.
fn misfitting(place: Place, key: &str, misfit: Misfit) -> Diagnostic {
    let path = format!("with.{key}");
    match misfit {
        Misfit::Type(expected) => d::parameter_invalid(place, key, &expected),
        Misfit::Pattern(pattern) => d::parameter_pattern(place, key, &pattern),
        Misfit::Clear => d::secret_in_clear(place, &path),
        Misfit::SecretName(text) => d::secret_name(place, &text),
        Misfit::Duration(text) => d::duration_malformed(place, &path, &text),
        Misfit::Size(text) => d::size_malformed(place, &path, &text),
        Misfit::Path(text, why) => d::path_invalid(place, &path, &text, why),
    }
}

fn error_rule(rule: &crate::documents::ErrorRuleSpec) -> ErrorRule {
    ErrorRule {
        contains: rule.contains.clone(),
        class: match rule.class {
            ErrorClassSpec::Transient => ErrorRuleClass::Transient,
            ErrorClassSpec::Waiting => ErrorRuleClass::Waiting,
            ErrorClassSpec::Terminal => ErrorRuleClass::Terminal,
            ErrorClassSpec::Absent => ErrorRuleClass::Absent,
        },
        reason: rule.reason.clone(),
        hint: rule.hint.clone(),
    }
}
