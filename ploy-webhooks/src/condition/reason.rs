//! Why a condition cannot be judged, in words. The evaluator's own texts show values, which may be
//! as large as a payload and are nobody's business.

use cel::{ExecutionError, OverloadError};

/// How much of a name is shown.
const NAME_CHARS: usize = 64;

/// What went wrong, in words.
pub(super) fn of(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(name) => format!("there is no `{}`", shown(name)),
        ExecutionError::UndeclaredReference(name) => {
            format!("there is no variable or function `{}`", shown(name))
        }
        ExecutionError::NoSuchOverload(overload) => mismatch(overload),
        ExecutionError::UnexpectedType { got, want } => {
            format!("this is {}, where {} is needed", kind(got), kind(want))
        }
        ExecutionError::ValuesNotComparable(left, right) => format!(
            "{} does not compare with {}",
            kind(&left.type_of().to_string()),
            kind(&right.type_of().to_string())
        ),
        ExecutionError::UnsupportedBinaryOperator(operator, left, right) => format!(
            "{} cannot be applied to {} and {}",
            operator_name(operator),
            kind(&left.type_of().to_string()),
            kind(&right.type_of().to_string())
        ),
        ExecutionError::UnsupportedIndex(..) | ExecutionError::UnsupportedKeyType(_) => {
            "what stands in brackets is neither the name of a member nor a place in a list"
                .to_owned()
        }
        ExecutionError::IndexOutOfBounds(_) => "the list is shorter than that".to_owned(),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "it divides by zero".to_owned()
        }
        ExecutionError::Overflow(..) => "a number becomes too large".to_owned(),
        ExecutionError::DuplicateKey(_) => "an object has the same name twice".to_owned(),
        ExecutionError::FunctionError { function, .. } => {
            format!("`{}` has no result for this value", shown(function))
        }
        _ => "it cannot be evaluated".to_owned(),
    }
}

/// What people call a value of that type. The three kinds of numbers are told apart: arithmetic does
/// not mix them.
pub(super) fn kind(cel_type: &str) -> &str {
    match cel_type {
        "int" => "a whole number",
        "uint" => "a whole number of the unsigned kind",
        "double" | "float" => "a decimal number",
        "string" => "a text",
        "bool" => "true or false",
        "list" => "a list",
        "map" => "an object",
        "map key" => "the name of a member",
        "null" | "null_type" => "null",
        "type" => "a type",
        _ => "something else",
    }
}

fn mismatch(overload: &OverloadError) -> String {
    let types: Vec<_> = overload.argument_types().iter().map(|cel_type| kind(cel_type)).collect();
    let name = operator_name(overload.function());
    match (overload.function(), &types[..]) {
        ("_<_" | "_<=_" | "_>_" | "_>=_", [left, right]) => {
            format!("{left} does not compare with {right}")
        }
        ("_._", [value, _]) => format!("{value} has no members"),
        (_, []) => format!("{name} cannot be called like this"),
        (_, types) => format!("{name} cannot be applied to {}", types.join(" and ")),
    }
}

/// An operator as it is written in conditions.
fn operator_name(name: &str) -> String {
    let written = match name {
        "add" => "+",
        "sub" => "-",
        "mul" => "*",
        "div" => "/",
        "rem" => "%",
        "_?_:_" => "? :",
        "_[_]" => "[ ]",
        "@in" => "in",
        name => name.trim_matches('_'),
    };
    format!("`{}`", shown(written))
}

/// A name that may come from a payload, on one line and not too long.
fn shown(name: &str) -> String {
    let mut shown: String = name.chars().take(NAME_CHARS).flat_map(char::escape_debug).collect();
    if name.chars().nth(NAME_CHARS).is_some() {
        shown.push('…');
    }
    shown
}
