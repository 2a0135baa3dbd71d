//! A jq program: jaq compiles and runs it.

use jaq_core::load::lex::{Lexer, Token};
use jaq_core::load::parse::{Def, Parser, Term};
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Filter, Vars, compile, data};
use jaq_json::write::Pp;
use jaq_json::{Num, Val};
use pipehost_plugin::{Error, Rejection};

use crate::paths;
use crate::rewrite::rewritten;
use crate::texts;

pub type Data = data::JustLut<Val>;

pub struct Program(Filter<Data>);

impl Program {
    /// Compiles a program with these variables.
    pub fn compile(code: &str, variables: &[&str]) -> Result<Self, Error> {
        let program = Def { name: "program", args: Vec::new(), body: rewritten(parse(code)?) };
        let ours = load::parse(include_str!("definitions.jq"), |parser| parser.defs());
        let definitions = (jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs()))
            .chain(ours.expect("our own definitions are right"))
            .map(|definition| definition as Def<&str>)
            .chain([program]);
        let functions = (jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs()))
            .chain(paths::functions())
            .chain(texts::functions());
        let arena = Arena::default();
        let main = File { code: "program", path: () };
        let modules = Loader::new(definitions).load(&arena, main);
        let modules = modules.map_err(|_| "`program` cannot be loaded")?;
        let names: Vec<String> = variables.iter().map(|name| format!("${name}")).collect();
        let filter = Compiler::default()
            .with_funs(functions)
            .with_global_vars(names.iter().map(String::as_str))
            .compile(modules)
            .map_err(|errors| compile_error(code, errors))?;
        Ok(Self(filter))
    }

    /// Gives each output to `each`, until that or the program has an error.
    pub fn run(
        &self,
        input: Val,
        variables: impl IntoIterator<Item = Val>,
        mut each: impl FnMut(Val) -> Result<(), Rejection>,
    ) -> Result<(), Rejection> {
        let context = Ctx::<Data>::new(&self.0.lut, Vars::new(variables));
        for output in self.0.id.run((context, input)) {
            match output.map_err(jaq_core::Exn::get_err) {
                Ok(output) => each(output)?,
                Err(Ok(error)) => return Err(Rejection::new(error.to_string())),
                Err(Err(_)) => {
                    return Err("the program used `halt`, which has no meaning here".into());
                }
            }
        }
        Ok(())
    }
}

/// Writes a value in JSON; a raw text without its quotes.
pub fn write(value: &Val, is_raw: bool, out: &mut Vec<u8>) -> Result<(), Rejection> {
    if let (Val::TStr(text), true) = (value, is_raw) {
        out.extend_from_slice(text);
        return Ok(());
    }
    let as_json = match as_json(value)? {
        Some(changed) => changed,
        None => value.clone(),
    };
    jaq_json::write::write(out, &Pp::default(), 0, &as_json).map_err(|error| error.to_string())?;
    Ok(())
}

/// The value with its numbers changed as jq does: NaN becomes null, infinity the largest number, and
/// 3.0 becomes 3. `None` if nothing changes.
fn as_json(value: &Val) -> Result<Option<Val>, Rejection> {
    Ok(match value {
        Val::Num(Num::Float(number)) if number.is_nan() => Some(Val::Null),
        Val::Num(Num::Float(number)) if number.is_infinite() => {
            Some(Val::from(f64::MAX.copysign(*number)))
        }
        // As jq writes them: 3 and not 3.0.
        Val::Num(Num::Float(number)) if number.fract() == 0.0 && number.abs() < 1e17 => {
            // Not as an `isize`, which has 32 bits in the sandbox.
            Some(Val::Num(Num::Dec(format!("{number:.0}").into())))
        }
        Val::BStr(_) => return Err("the output holds bytes, which are no JSON".into()),
        Val::Arr(values) => {
            let mut changed = None;
            for (index, value) in values.iter().enumerate() {
                if let Some(new) = as_json(value)? {
                    changed.get_or_insert_with(|| values.to_vec())[index] = new;
                }
            }
            changed.map(|values| values.into_iter().collect())
        }
        Val::Obj(members) => {
            let mut changed = None;
            for (name, value) in members.iter() {
                if !matches!(name, Val::TStr(_)) {
                    return Err(
                        "the output has a member whose name is no text, which is no JSON".into()
                    );
                }
                if let Some(new) = as_json(value)? {
                    changed.get_or_insert_with(|| (**members).clone()).insert(name.clone(), new);
                }
            }
            changed.map(Val::obj)
        }
        _ => None,
    })
}

/// A line, counted from 1, in which a part of the program begins.
fn line(code: &str, part: &str) -> usize {
    // What is expected at the end may be an empty text from elsewhere.
    let start = (part.as_ptr() as usize).wrapping_sub(code.as_ptr() as usize).min(code.len());
    code[..start].matches('\n').count() + 1
}

fn shown(part: &str) -> String {
    const SHOWN: usize = 40;
    match part.char_indices().nth(SHOWN) {
        _ if part.trim().is_empty() => "the end".to_owned(),
        Some((end, _)) => format!("`{}…`", &part[..end]),
        None => format!("`{part}`"),
    }
}

fn parse(code: &str) -> Result<Term<&str>, Error> {
    let told = |errors: Vec<(&str, &str)>| -> Error {
        let told = errors.into_iter().map(|(expected, found)| {
            let (line, found) = (line(code, found), shown(found));
            format!("line {line}: {expected} is expected, and there is {found}")
        });
        format!("`program`: {}", told.collect::<Vec<_>>().join("; ")).into()
    };
    let tokens = Lexer::new(code).lex().map_err(|errors| {
        let errors: Vec<_> =
            errors.into_iter().map(|(expected, found)| (expected.as_str(), found)).collect();
        told(errors)
    })?;
    Parser::new(&tokens).parse(|parser| parser.term()).map_err(|errors| {
        let found = |token| Token::opt_as_str(token, code);
        told(
            errors.into_iter().map(|(expected, token)| (expected.as_str(), found(token))).collect(),
        )
    })
}

fn compile_error(code: &str, errors: compile::Errors<&str, ()>) -> Error {
    let told: Vec<_> = (errors.into_iter())
        .flat_map(|(_, errors)| errors)
        .map(|(found, undefined)| {
            format!(
                "line {}: there is no {} {}",
                line(code, found),
                undefined.as_str(),
                shown(found)
            )
        })
        .collect();
    format!("`program`: {}", told.join("; ")).into()
}
