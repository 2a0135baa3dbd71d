//! Assignments and divisions as jq has them. jaq refuses `.a.b = 1` where there is no `.a`; jq makes it.
//!
//! An update of a path becomes one of each of its steps, and before each step, what is null becomes
//! an object or an array: `.a.b |= f` is `_init("a") | .a |= (_init("b") | .b |= f)`. And jaq divides by
//! zero, which is an error in jq, and keeps fractions in a remainder.

use std::sync::atomic::{AtomicUsize, Ordering};

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::ops::Math;
use jaq_core::path::{Opt, Part, Path};

/// Stands for the right side of an assignment. No program can name it.
const VALUE: &str = "$ value";

/// A program with its assignments rewritten.
pub fn rewritten<'s>(term: Term<&'s str>) -> Term<&'s str> {
    use Term::*;
    let boxed = |term: Box<Term<&'s str>>| Box::new(rewritten(*term));
    let option = |term: Option<Box<Term<&'s str>>>| term.map(boxed);
    let all = |terms: Vec<Term<&'s str>>| terms.into_iter().map(rewritten).collect::<Vec<_>>();
    match term {
        BinOp(left, operation, right) => {
            let (left, right) = (rewritten(*left), rewritten(*right));
            let value = || Box::new(Var(VALUE));
            match operation {
                BinaryOp::Update => update(left, right),
                BinaryOp::Assign => bound(right, VALUE, update(left, Var(VALUE))),
                BinaryOp::UpdateMath(math) => {
                    let new = math_of(Id, math, Var(VALUE));
                    bound(right, VALUE, update(left, new))
                }
                BinaryOp::UpdateAlt => {
                    let new = BinOp(Box::new(Id), BinaryOp::Alt, value());
                    bound(right, VALUE, update(left, new))
                }
                BinaryOp::Math(math) => math_of(left, math, right),
                BinaryOp::Pipe(Some(pattern)) => BinOp(
                    Box::new(left),
                    BinaryOp::Pipe(Some(in_pattern(pattern))),
                    Box::new(right),
                ),
                other => BinOp(Box::new(left), other, Box::new(right)),
            }
        }
        Str(format, parts) => {
            let part = |part| match part {
                // jaq writes 3.0 where jq writes 3.
                StrPart::Term(term) if format.is_none() => {
                    StrPart::Term(pipe(rewritten(term), Call("tostring", Vec::new())))
                }
                StrPart::Term(term) => StrPart::Term(rewritten(term)),
                other => other,
            };
            Str(format, parts.into_iter().map(part).collect())
        }
        Arr(term) => Arr(option(term)),
        Obj(members) => Obj((members.into_iter())
            .map(|(name, value)| (rewritten(name), value.map(rewritten)))
            .collect()),
        Neg(term) => Neg(boxed(term)),
        Label(name, term) => Label(name, boxed(term)),
        Fold(name, over, pattern, terms) => {
            Fold(name, boxed(over), in_pattern(pattern), all(terms))
        }
        TryCatch(term, catch) => TryCatch(boxed(term), option(catch)),
        IfThenElse(branches, otherwise) => {
            let branch = |(condition, term)| (rewritten(condition), rewritten(term));
            IfThenElse(branches.into_iter().map(branch).collect(), option(otherwise))
        }
        Def(definitions, term) => {
            Def(definitions.into_iter().map(in_definition).collect(), boxed(term))
        }
        Call(name, arguments) => Call(name, all(arguments)),
        Path(base, path) => Path(boxed(base), in_path(path)),
        Id | Recurse | Num(_) | Break(_) | Var(_) => term,
    }
}

fn in_definition(definition: Def<&str>) -> Def<&str> {
    Def { body: rewritten(definition.body), ..definition }
}

fn in_pattern(pattern: Pattern<&str>) -> Pattern<&str> {
    match pattern {
        Pattern::Var(name) => Pattern::Var(name),
        Pattern::Arr(patterns) => Pattern::Arr(patterns.into_iter().map(in_pattern).collect()),
        Pattern::Obj(members) => Pattern::Obj(
            (members.into_iter())
                .map(|(name, pattern)| (rewritten(name), in_pattern(pattern)))
                .collect(),
        ),
    }
}

fn in_path(path: Path<Term<&str>>) -> Path<Term<&str>> {
    let part = |part| match part {
        Part::Index(term) => Part::Index(rewritten(term)),
        Part::Range(from, to) => Part::Range(from.map(rewritten), to.map(rewritten)),
    };
    Path(path.0.into_iter().map(|(one, optional)| (part(one), optional)).collect())
}

/// `value as $name | term`
fn bound<'s>(value: Term<&'s str>, name: &'s str, term: Term<&'s str>) -> Term<&'s str> {
    Term::BinOp(Box::new(value), BinaryOp::Pipe(Some(Pattern::Var(name))), Box::new(term))
}

/// A name that no other variable has. It stays in memory, as the program does.
fn unique_name() -> &'static str {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    Box::leak(format!("$ {}", COUNT.fetch_add(1, Ordering::Relaxed)).into_boxed_str())
}

/// An operation with numbers. What is divided by is not zero, and a remainder is that of whole
/// numbers.
fn math_of<'s>(left: Term<&'s str>, math: Math, right: Term<&'s str>) -> Term<&'s str> {
    let call = |term, name| pipe(term, Term::Call(name, Vec::new()));
    let (left, right) = match math {
        Math::Div => (left, call(right, "_divisor")),
        Math::Rem => (call(left, "_whole"), call(right, "_whole")),
        _ => (left, right),
    };
    Term::BinOp(Box::new(left), BinaryOp::Math(math), Box::new(right))
}

fn pipe<'s>(first: Term<&'s str>, second: Term<&'s str>) -> Term<&'s str> {
    Term::BinOp(Box::new(first), BinaryOp::Pipe(None), Box::new(second))
}

/// `place |= new`
fn update<'s>(place: Term<&'s str>, new: Term<&'s str>) -> Term<&'s str> {
    match place {
        Term::BinOp(left, BinaryOp::Comma, right) => {
            pipe(update(*left, new.clone()), update(*right, new))
        }
        Term::BinOp(left, BinaryOp::Pipe(None), right) => update(*left, update(*right, new)),
        Term::Path(base, path) => {
            let mut steps = path.0;
            // An index is computed of what the whole path begins with.
            let mut computed = Vec::new();
            for (step, _) in &mut steps {
                let indices = match step {
                    Part::Index(index) => [Some(index), None],
                    Part::Range(from, to) => [from.as_mut(), to.as_mut()],
                };
                for index in indices.into_iter().flatten().filter(|index| !is_constant(index)) {
                    let name = unique_name();
                    computed.push((name, std::mem::replace(index, Term::Var(name))));
                }
            }
            let mut new = new;
            while let Some(step) = steps.pop() {
                let init = match &step.0 {
                    Part::Index(index) => Some(Term::Call("_init", vec![index.clone()])),
                    Part::Range(..) => None,
                };
                let updated = native(Term::Path(Box::new(Term::Id), Path(vec![step])), new);
                new = match init {
                    Some(init) => pipe(init, updated),
                    None => updated,
                };
            }
            let updated = match *base {
                Term::Id => new,
                base => update(base, new),
            };
            // What an index has several outputs for is updated at each of them, one after the other.
            // All outputs come first: a generator that still has the input would have it copied.
            let lists: Vec<_> = computed.iter().map(|_| unique_name()).collect();
            let mut updated = updated;
            for (&(name, _), &list) in computed.iter().zip(&lists).rev() {
                let each = vec![(Part::Range(None, None), Opt::Essential)];
                let outputs = Term::Path(Box::new(Term::Var(list)), Path(each));
                let steps = vec![Term::Id, updated];
                updated = Term::Fold("reduce", Box::new(outputs), Pattern::Var(name), steps);
            }
            computed.into_iter().zip(lists).rev().fold(updated, |term, ((_, index), list)| {
                bound(Term::Arr(Some(Box::new(index))), list, term)
            })
        }
        Term::IfThenElse(branches, otherwise) => {
            let branches = branches.into_iter();
            let branches =
                branches.map(|(condition, place)| (condition, update(place, new.clone())));
            let branches = branches.collect();
            let otherwise = update(otherwise.map_or(Term::Id, |place| *place), new);
            Term::IfThenElse(branches, Some(Box::new(otherwise)))
        }
        Term::Call("getpath", mut arguments) if arguments.len() == 1 => {
            let (path, name) = (arguments.remove(0), unique_name());
            let old = Term::Call("getpath", vec![Term::Var(name)]);
            let set = Term::Call("setpath", vec![Term::Var(name), pipe(old, new)]);
            bound(path, name, set)
        }
        place => native(place, new),
    }
}

fn native<'s>(place: Term<&'s str>, new: Term<&'s str>) -> Term<&'s str> {
    Term::BinOp(Box::new(place), BinaryOp::Update, Box::new(new))
}

fn is_constant(term: &Term<&str>) -> bool {
    match term {
        Term::Num(_) | Term::Var(_) => true,
        Term::Str(None, parts) => parts.iter().all(|part| !matches!(part, StrPart::Term(_))),
        _ => false,
    }
}
