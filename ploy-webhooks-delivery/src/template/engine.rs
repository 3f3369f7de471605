//! The engine, with what expressions have of it.

use std::sync::LazyLock;

use minijinja::{Environment, UndefinedBehavior};

use super::EXPRESSION_BYTES_MAX;
use super::filters;

/// All filters.
pub(super) const FILTERS: [&str; 16] = [
    "capitalize",
    "date",
    "default",
    "first",
    "float",
    "int",
    "join",
    "last",
    "length",
    "lower",
    "round",
    "string",
    "title",
    "tojson",
    "trim",
    "upper",
];

/// All tests.
pub(super) const TESTS: [&str; 8] =
    ["boolean", "defined", "mapping", "none", "number", "sequence", "string", "undefined"];

/// The engine: these filters and tests, and nothing else.
pub(super) fn engine() -> &'static Environment<'static> {
    static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(set_up);
    &ENGINE
}

fn set_up() -> Environment<'static> {
    let mut engine = Environment::empty();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    // Nothing recurses without loops and macros.
    engine.set_recursion_limit(4);
    // A step takes a character at least, and none is taken twice.
    engine.set_fuel(Some(2 * EXPRESSION_BYTES_MAX as u64));
    filters::add_to(&mut engine);
    engine
}
