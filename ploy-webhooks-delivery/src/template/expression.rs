//! What stands in a merge field, ready to be evaluated.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use minijinja::value::{Object, ObjectRepr};
use minijinja::{Error, ErrorKind, Expression, State, Value};

use super::EXPRESSION_FIELDS_MAX;
use super::engine::engine;
use super::error::{RenderError, TemplateError};
use super::filters::Fault;
use super::path::Path;
use super::scan::{FIELD, NULL, Scanned, excerpt};
use super::scope::{Missing, Scope};
use super::tree::{Null, paid};

/// The name by which filters find what they pay out of.
const WORK: &str = "w";

/// What stands in a merge field.
#[derive(Debug)]
pub(super) struct Field {
    written: Box<str>,
    paths: Arc<[Path]>,
    /// What the engine does with them; nothing where the field is a path alone.
    code: Option<Expression<'static, 'static>>,
    operators: usize,
    may_be_nothing: bool,
}

/// One template being filled in.
#[derive(Debug)]
pub(super) struct Rendering<'scope> {
    pub(super) scope: &'scope Arc<Scope>,
    missing: Vec<String>,
}

impl<'scope> Rendering<'scope> {
    pub(super) const fn of(scope: &'scope Arc<Scope>) -> Self {
        Self { scope, missing: Vec::new() }
    }

    /// What came out, where no field was missing that has to be there.
    pub(super) fn finish<T>(self, rendered: T) -> Result<T, RenderError> {
        if self.missing.is_empty() {
            Ok(rendered)
        } else {
            Err(RenderError::Missing { names: self.missing })
        }
    }

    /// Whether something was missing already that has to be there.
    pub(super) const fn has_missed(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Stands in for what is not there. All of it is named at the end.
    fn miss<'name>(&mut self, names: impl IntoIterator<Item = &'name str>) -> Value {
        const NAMED_MAX: usize = 16;
        if self.scope.missing == Missing::Fail {
            for name in names {
                let is_new = self.missing.iter().all(|known| known != name);
                if is_new && self.missing.len() < NAMED_MAX {
                    self.missing.push(name.to_owned());
                }
            }
        }
        Null::missing()
    }
}

impl Field {
    pub(super) fn compile(scanned: Scanned<'_>) -> Result<Self, TemplateError> {
        let is_path = scanned.is_path();
        let syntax = |error: Error| TemplateError::Syntax {
            at: scanned.at,
            written: excerpt(scanned.written),
            fault: error.detail().unwrap_or("it cannot be read").to_owned(),
        };
        let code = if is_path {
            None
        } else {
            let code = scanned.code.trim().to_owned();
            Some(engine().compile_expression_owned(code).map_err(syntax)?)
        };
        Ok(Self {
            written: excerpt(scanned.written).into(),
            paths: scanned.paths.into(),
            code,
            operators: scanned.operators,
            may_be_nothing: scanned.may_be_nothing,
        })
    }

    /// The expression as written, or how it begins.
    pub(super) fn written(&self) -> &str {
        &self.written
    }

    /// Its value for an event.
    pub(super) fn value(&self, rendering: &mut Rendering<'_>) -> Result<Value, RenderError> {
        for path in &*self.paths {
            rendering.scope.root(path.root)?;
        }
        match &self.code {
            None => self.follow(rendering),
            Some(code) => self.evaluate(code, rendering),
        }
    }

    fn follow(&self, rendering: &mut Rendering<'_>) -> Result<Value, RenderError> {
        let scope = rendering.scope;
        match scope.find(&self.paths[0])? {
            Some(value) => Ok(value.clone()),
            None => Ok(rendering.miss([&*self.paths[0].written])),
        }
    }

    fn evaluate(
        &self,
        code: &Expression<'static, 'static>,
        rendering: &mut Rendering<'_>,
    ) -> Result<Value, RenderError> {
        let scope = rendering.scope;
        scope.work.begin(self.operators);
        let lookup = Arc::new(Lookup {
            scope: Arc::clone(scope),
            paths: Arc::clone(&self.paths),
            missed: AtomicU32::new(0),
        });
        let value = code.eval(Value::from_dyn_object(Arc::clone(&lookup)));
        if scope.work.is_exhausted() {
            return Err(RenderError::TooMuchWork { written: self.written.to_string() });
        }
        let missed = lookup.missed.load(Ordering::Relaxed);
        match value {
            Ok(value) if !value.is_undefined() => Ok(value),
            Ok(_) if missed == 0 && self.may_be_nothing => Ok(Null::present()),
            Ok(_) => Ok(self.miss(missed, rendering)),
            Err(error) if error.kind() == ErrorKind::UndefinedError => {
                Ok(self.miss(missed, rendering))
            }
            Err(error) => Err(self.fault(&error)),
        }
    }

    /// Names the paths that lead nowhere, or the whole where that is all that can be said.
    fn miss(&self, missed: u32, rendering: &mut Rendering<'_>) -> Value {
        if missed == 0 {
            return rendering.miss([&*self.written]);
        }
        let is_missed = |place: usize| missed & (1 << place) != 0;
        let paths = self.paths.iter().enumerate().filter(|&(place, _)| is_missed(place));
        rendering.miss(paths.map(|(_, path)| &*path.written))
    }

    /// The fault without the values that the engine has in its messages.
    fn fault(&self, error: &Error) -> RenderError {
        let own = error.source().and_then(|source| source.downcast_ref::<Fault>());
        let fault = match (own, error.kind()) {
            (Some(fault), _) => fault.0,
            (None, ErrorKind::TooManyArguments) => "a filter has more arguments than it takes",
            (None, ErrorKind::MissingArgument) => "a filter lacks an argument",
            (None, _) => "its values do not fit together, such as a text where a number is needed",
        };
        RenderError::Expression { written: self.written.to_string(), fault }
    }
}

/// What the engine finds the fields of an expression in.
#[derive(Debug)]
pub(super) struct Lookup {
    scope: Arc<Scope>,
    paths: Arc<[Path]>,
    /// Which paths lead nowhere and have to lead somewhere, a bit each.
    missed: AtomicU32,
}

const _: () = assert!(EXPRESSION_FIELDS_MAX <= u32::BITS as usize);

impl Lookup {
    /// That of the expression which is evaluated.
    pub(super) fn of(state: &State<'_, '_>) -> Option<Arc<Self>> {
        state.lookup(WORK)?.downcast_object()
    }

    pub(super) fn pay(&self, bytes: usize) -> bool {
        self.scope.work.pay(bytes)
    }

    fn field(&self, place: usize) -> Option<Value> {
        let path = self.paths.get(place)?;
        // That the payload can be read is known by now.
        match self.scope.find(path).ok()? {
            Some(value) => paid(value, &self.scope.work),
            None if self.scope.missing == Missing::Empty => Some(Null::missing()),
            None => {
                if !path.is_optional {
                    self.missed.fetch_or(1 << place, Ordering::Relaxed);
                }
                None
            }
        }
    }
}

impl Object for Lookup {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match key {
            NULL => Some(Null::present()),
            WORK => Some(Value::from_dyn_object(Arc::clone(self))),
            _ => self.field(key.strip_prefix(FIELD)?.parse().ok()?),
        }
    }
}
