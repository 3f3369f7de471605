//! From a text to an expression that may be evaluated: all that is known of a condition before
//! there is a payload is checked here, and what depends on the payload is made to pay.
//!
//! What pays is written into the expression, as calls of the functions in `work`. A value that the
//! text alone bounds (a number, a truth, a literal) pays nothing: it is small. Of the rest:
//!
//! | what | its cost | what pays |
//! | --- | --- | --- |
//! | a loop | a copy of each item; the operations in its body, for each | what it goes over, with the cost of a round |
//! | `==`, `!=` | what both sides have in common | one side, unless the other is small |
//! | `<`, `<=`, `>`, `>=`, `+`, `-`, `*`, `/`, `%` | the operands: copied into the result, or into an error | both sides |
//! | `in` | looks through the right, copies the left into an error | both sides |
//! | `a[b]` | copies `b` into an error, and `a` where `b` is a fraction | `b`, and `a` where `b` is not known |
//! | `[a]`, `{a: b}` | copies | every part |
//! | functions | look through, or copy | every argument, but for `type` |
//!
//! All else (`a.b`, `&&`, `||`, `!`, `? :`) hands values on without a copy and costs the same for
//! each: outside of loops the length of the text bounds it.

use std::collections::BTreeSet;

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SourceInfo, operators,
};
use cel::common::types::CelInt;
use cel::parser::{Expression, ParseErrors};

use super::work::{LOOP, PAY, environment, text_cost};
use super::{Condition, ConditionError, Place};

/// How deep the parser descends, beyond which it stops by itself: choices (`a ? b : c ? d : e`)
/// have no brackets to count, and a bracket counts as one too.
const DESCENT_MAX: u16 = 20 + Condition::NESTING_MAX as u16;
/// How much of the parser's message is shown.
const MESSAGE_CHARS: usize = 200;

/// The variables of a condition.
const VARIABLES: [&str; 3] = ["payload", "fields", "event"];
/// What `type(value)` is compared with.
const TYPES: [&str; 9] =
    ["bool", "double", "int", "list", "map", "null_type", "string", "type", "uint"];
/// The variable in which the macros keep what they have found so far.
const FOUND: &str = "@result";

/// The functions: how often they take a value before the dot, and how many in brackets.
const FUNCTIONS: [(&str, bool, usize); 11] = [
    ("size", false, 1),
    ("size", true, 0),
    ("contains", true, 1),
    ("startsWith", true, 1),
    ("endsWith", true, 1),
    ("int", false, 1),
    ("uint", false, 1),
    ("double", false, 1),
    ("string", false, 1),
    ("bool", false, 1),
    ("type", false, 1),
];

/// An expression that is within its bounds, whatever it is evaluated on.
pub(super) struct Checked {
    pub(super) expression: Expression,
    pub(super) reads: Reads,
}

/// What a condition reads.
#[derive(Default)]
pub(super) struct Reads {
    /// What of the payload; `None` is nothing.
    pub(super) payload: Option<Members>,
    pub(super) fields: bool,
    pub(super) event: bool,
}

/// Members of the payload.
pub(super) enum Members {
    /// Those with these names.
    These(BTreeSet<String>),
    /// Every one.
    All,
}

/// Whether a value may be as large as a payload.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// No: a number, a truth, or what stands in the text.
    Small,
    /// Yes.
    Any,
}

/// Refuses a text whose brackets stand too deep inside each other, before a parser descends into
/// them.
pub(super) fn nesting(text: &str) -> Result<(), ConditionError> {
    let mut depth = 0_usize;
    let mut rest = text.char_indices().peekable();
    let mut before = ' ';
    while let Some((at, character)) = rest.next() {
        match character {
            '(' | '[' | '{' => {
                depth += 1;
                if depth > Condition::NESTING_MAX {
                    return Err(ConditionError::TooNested(place(text, at)));
                }
            }
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '/' if rest.next_if(|&(_, next)| next == '/').is_some() => {
                while rest.next_if(|&(_, next)| next != '\n').is_some() {}
            }
            '"' | '\'' => {
                let is_raw = matches!(before, 'r' | 'R');
                let length = literal_length(&text[at..], character, is_raw);
                while rest.next_if(|&(next, _)| next < at + length).is_some() {}
            }
            _ => {}
        }
        before = character;
    }
    Ok(())
}

/// How many bytes a text literal has, quotes included. One that has no end reaches to that of the
/// line, where the parser gives it up as well.
fn literal_length(text: &str, quote: char, is_raw: bool) -> usize {
    let triple: String = [quote; 3].iter().collect();
    let end = if text.starts_with(&triple) { &triple[..] } else { &triple[..1] };
    let mut at = end.len();
    while let Some(character) = text[at..].chars().next() {
        if text[at..].starts_with(end) {
            return at + end.len();
        }
        if end.len() == 1 && matches!(character, '\n' | '\r') {
            return at;
        }
        at += character.len_utf8();
        if character == '\\' && !is_raw {
            at += text[at..].chars().next().map_or(0, char::len_utf8);
        }
    }
    at
}

/// Parses a text and checks it. Descends deep: see [`Condition::compile`].
pub(super) fn parse(text: &str) -> Result<Checked, ConditionError> {
    let parser = environment().parser().max_recursion_depth(DESCENT_MAX);
    let (mut expression, source) =
        parser.parse_with_source_info(text).map_err(|errors| syntax(text, &errors))?;
    let mut check = Check { source, reads: Reads::default(), loops: Vec::new() };
    check.expression(&mut expression)?;
    if depth(&expression) > Condition::DEPTH_MAX {
        return Err(ConditionError::TooDeep);
    }
    Ok(Checked { expression, reads: check.reads })
}

fn syntax(text: &str, errors: &ParseErrors) -> ConditionError {
    if let Some(error) = errors.errors.iter().find(|error| error.msg.contains("Recursion limit")) {
        let at = usize::try_from(error.pos.0).unwrap_or(0);
        return ConditionError::TooNested(place(text, text.floor_char_boundary(at)));
    }
    let count = |number: isize| u32::try_from(number).unwrap_or(1).max(1);
    let Some(first) = errors.errors.first() else {
        let place = Place { line: 1, column: 1 };
        return ConditionError::Syntax { place, message: "this is no expression".to_owned() };
    };
    let message = first.msg.strip_prefix("Syntax error: ").unwrap_or(&first.msg);
    // What the parser expects instead is a list of nearly everything.
    let message = message.split(" expecting {").next().unwrap_or(message);
    ConditionError::Syntax {
        place: Place { line: count(first.pos.0), column: count(first.pos.1) },
        message: message.chars().take(MESSAGE_CHARS).collect(),
    }
}

/// Where the byte with that number is.
fn place(text: &str, at: usize) -> Place {
    let before = &text[..at];
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
    let count = |number: usize| u32::try_from(number + 1).unwrap_or(u32::MAX);
    Place { line: count(before.matches('\n').count()), column: count(column) }
}

struct Check {
    source: SourceInfo,
    reads: Reads,
    /// The variables of the loops around what is being checked.
    loops: Vec<String>,
}

impl Check {
    /// Checks an expression, and makes it pay.
    fn expression(&mut self, node: &mut Expression) -> Result<Extent, ConditionError> {
        self.note_members(node);
        let id = node.id;
        match &mut node.expr {
            Expr::Literal(_) => Ok(Extent::Small),
            Expr::Ident(name) => {
                let name = name.clone();
                self.variable(id, &name)
            }
            Expr::Select(select) => {
                self.operand_of_member(&mut select.operand)?;
                Ok(if select.test { Extent::Small } else { Extent::Any })
            }
            Expr::Call(call) => self.call(id, call),
            Expr::List(list) => {
                if !list.optional_indices.is_empty() {
                    return Err(self.unsupported(id, "optional items"));
                }
                let mut extent = Extent::Small;
                for item in &mut list.elements {
                    if self.paying(item)? == Extent::Any {
                        extent = Extent::Any;
                    }
                }
                Ok(extent)
            }
            Expr::Map(map) => {
                for entry in &mut map.entries {
                    let id = entry.id;
                    let EntryExpr::MapEntry(entry) = &mut entry.expr else {
                        return Err(self.unsupported(id, "messages"));
                    };
                    if entry.optional {
                        return Err(self.unsupported(id, "optional members"));
                    }
                    self.paying(&mut entry.key)?;
                    self.paying(&mut entry.value)?;
                }
                Ok(Extent::Any)
            }
            Expr::Comprehension(comprehension) => self.comprehension(id, comprehension),
            Expr::Struct(_) => Err(self.unsupported(id, "messages")),
            Expr::Unspecified => Err(self.unsupported(id, "such expressions")),
        }
    }

    /// Checks an expression whose value costs as much as it is large, and makes that pay.
    fn paying(&mut self, node: &mut Expression) -> Result<Extent, ConditionError> {
        let extent = self.expression(node)?;
        if extent == Extent::Any {
            pay(node, PAY, None);
        }
        Ok(extent)
    }

    /// What stands before the dot of a member. `payload` alone is noted by whoever names its
    /// member.
    fn operand_of_member(&mut self, operand: &mut Expression) -> Result<(), ConditionError> {
        if !self.is_payload(operand) {
            self.expression(operand)?;
        }
        Ok(())
    }

    fn variable(&mut self, id: u64, name: &str) -> Result<Extent, ConditionError> {
        if name == FOUND && !self.loops.is_empty() {
            return Ok(Extent::Small);
        }
        if self.loops.iter().any(|variable| variable == name) {
            return Ok(Extent::Any);
        }
        match name {
            "payload" => self.reads.payload = Some(Members::All),
            "fields" => self.reads.fields = true,
            "event" => self.reads.event = true,
            name if TYPES.contains(&name) => return Ok(Extent::Small),
            name => {
                let place = self.place(id);
                return Err(ConditionError::Variable { place, name: name.to_owned() });
            }
        }
        Ok(Extent::Any)
    }

    fn call(&mut self, id: u64, call: &mut CallExpr) -> Result<Extent, ConditionError> {
        let name = call.func_name.as_str();
        if call.target.is_none() {
            match (name, &mut call.args[..]) {
                (operators::CONDITIONAL, [chooses, yes, no]) => {
                    self.expression(chooses)?;
                    let extents = [self.expression(yes)?, self.expression(no)?];
                    let is_small = extents == [Extent::Small; 2];
                    return Ok(if is_small { Extent::Small } else { Extent::Any });
                }
                (
                    operators::LOGICAL_AND
                    | operators::LOGICAL_OR
                    | operators::LOGICAL_NOT
                    | operators::NOT_STRICTLY_FALSE
                    | operators::NEGATE,
                    operands,
                ) => {
                    for operand in operands {
                        self.expression(operand)?;
                    }
                    return Ok(Extent::Small);
                }
                (operators::EQUALS | operators::NOT_EQUALS, [left, right]) => {
                    let extents = [self.expression(left)?, self.expression(right)?];
                    if extents == [Extent::Any; 2] {
                        pay(left, PAY, None);
                    }
                    return Ok(Extent::Small);
                }
                // How the macros add what they have found: made to be fast, and recognised by its
                // form.
                (operators::ADD, [found, more]) if is_variable(found, FOUND) => {
                    self.expression(more)?;
                    return Ok(Extent::Small);
                }
                (operators::ADD, [left, right]) => {
                    self.paying(left)?;
                    self.paying(right)?;
                    return Ok(Extent::Any);
                }
                (
                    operators::LESS
                    | operators::LESS_EQUALS
                    | operators::GREATER
                    | operators::GREATER_EQUALS
                    | operators::SUBSTRACT
                    | operators::MULTIPLY
                    | operators::DIVIDE
                    | operators::MODULO
                    | operators::IN,
                    [left, right],
                ) => {
                    self.paying(left)?;
                    self.paying(right)?;
                    return Ok(Extent::Small);
                }
                (operators::INDEX, [value, index]) => {
                    self.index(value, index)?;
                    return Ok(Extent::Any);
                }
                _ => {}
            }
        }
        self.function(id, call)
    }

    fn index(
        &mut self,
        value: &mut Expression,
        index: &mut Expression,
    ) -> Result<(), ConditionError> {
        self.paying(index)?;
        let is_known = matches!(
            index.expr,
            Expr::Literal(LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::String(_))
        );
        if is_known && matches!(index.expr, Expr::Literal(LiteralValue::String(_))) {
            self.operand_of_member(value)
        } else if is_known {
            self.expression(value).map(drop)
        } else {
            self.paying(value).map(drop)
        }
    }

    fn function(&mut self, id: u64, call: &mut CallExpr) -> Result<Extent, ConditionError> {
        let form = (call.func_name.as_str(), call.target.is_some(), call.args.len());
        if !FUNCTIONS.contains(&form) {
            if form.0.contains('?') {
                return Err(self.unsupported(id, "optional members"));
            }
            let name = call.func_name.clone();
            return Err(ConditionError::Function { place: self.place(id), name });
        }
        let is_type = form.0 == "type";
        let extent = if form.0 == "string" { Extent::Any } else { Extent::Small };
        for operand in call.target.as_deref_mut().into_iter().chain(&mut call.args) {
            if is_type {
                self.expression(operand)?;
            } else {
                self.paying(operand)?;
            }
        }
        Ok(extent)
    }

    fn comprehension(
        &mut self,
        id: u64,
        comprehension: &mut ComprehensionExpr,
    ) -> Result<Extent, ConditionError> {
        self.expression(&mut comprehension.iter_range)?;
        let name = &comprehension.iter_var;
        if VARIABLES.contains(&name.as_str()) {
            return Err(ConditionError::Hides { place: self.place(id), name: name.clone() });
        }
        if comprehension.iter_var2.is_some() || comprehension.accu_var != FOUND {
            return Err(self.unsupported(id, "such loops"));
        }
        self.loops.push(name.clone());
        self.expression(&mut comprehension.accu_init)?;
        self.expression(&mut comprehension.loop_cond)?;
        self.expression(&mut comprehension.loop_step)?;
        self.expression(&mut comprehension.result)?;
        self.loops.pop();
        let round = operations(&comprehension.loop_cond) + operations(&comprehension.loop_step);
        pay(&mut comprehension.iter_range, LOOP, Some(round));
        let is_list = matches!(comprehension.accu_init.expr, Expr::List(_));
        Ok(if is_list { Extent::Any } else { Extent::Small })
    }

    /// Notes that a member of the payload is read, where this is one.
    fn note_members(&mut self, node: &Expression) {
        let name = match &node.expr {
            Expr::Select(select) if self.is_payload(&select.operand) => &select.field,
            Expr::Call(CallExpr { func_name, target: None, args })
                if func_name == operators::INDEX && self.is_payload(&args[0]) =>
            {
                match &args[1].expr {
                    Expr::Literal(LiteralValue::String(name)) => name.inner(),
                    _ => return,
                }
            }
            _ => return,
        };
        match self.reads.payload.get_or_insert_with(|| Members::These(BTreeSet::new())) {
            Members::These(names) => {
                names.insert(name.to_owned());
            }
            Members::All => {}
        }
    }

    /// No loop has a variable of that name.
    fn is_payload(&self, node: &Expression) -> bool {
        is_variable(node, "payload")
    }

    fn unsupported(&self, id: u64, what: &'static str) -> ConditionError {
        ConditionError::Unsupported { place: self.place(id), what }
    }

    fn place(&self, id: u64) -> Place {
        let text = &self.source.source;
        let (start, _) = self.source.offset_for(id).unwrap_or_default();
        place(text, text.floor_char_boundary(start as usize))
    }
}

fn is_variable(node: &Expression, name: &str) -> bool {
    matches!(&node.expr, Expr::Ident(variable) if variable == name)
}

/// Lets a value go through a function of `work`.
fn pay(node: &mut Expression, function: &str, round: Option<u64>) {
    let value = std::mem::take(node);
    let id = value.id;
    let round = round.map(|cost| {
        let cost = i64::try_from(cost).unwrap_or(i64::MAX);
        Expression { id, expr: Expr::Literal(LiteralValue::Int(CelInt::from(cost))) }
    });
    let args = std::iter::once(value).chain(round).collect();
    let call = CallExpr { func_name: function.to_owned(), target: None, args };
    *node = Expression { id, expr: Expr::Call(call) };
}

/// How many operations stand inside each other.
fn depth(node: &Expression) -> usize {
    // Members of a variable are followed in one go, however many they are.
    let mut below = 0;
    let mut member = node;
    while let Expr::Select(select) = &member.expr {
        member = &select.operand;
    }
    if matches!(member.expr, Expr::Ident(_)) {
        return 1;
    }
    children(node, |child| below = below.max(depth(child)));
    1 + below
}

/// What one evaluation costs beside what is paid for by size.
fn operations(node: &Expression) -> u64 {
    let mut cost = match &node.expr {
        Expr::Literal(LiteralValue::String(text)) => text_cost(text.inner().len()),
        Expr::Literal(LiteralValue::Bytes(bytes)) => text_cost(bytes.inner().len()),
        _ => 1,
    };
    children(node, |child| cost += operations(child));
    cost
}

fn children(node: &Expression, mut visit: impl FnMut(&Expression)) {
    match &node.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
        Expr::Select(select) => visit(&select.operand),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).for_each(visit),
        Expr::List(list) => list.elements.iter().for_each(visit),
        Expr::Map(map) => {
            for entry in &map.entries {
                if let EntryExpr::MapEntry(entry) = &entry.expr {
                    visit(&entry.key);
                    visit(&entry.value);
                }
            }
        }
        Expr::Comprehension(comprehension) => {
            let ComprehensionExpr { iter_range, accu_init, loop_cond, loop_step, result, .. } =
                &**comprehension;
            [iter_range, accu_init, loop_cond, loop_step, result].into_iter().for_each(visit);
        }
    }
}
