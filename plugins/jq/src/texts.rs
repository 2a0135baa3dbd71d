//! Functions between values and texts, and one that makes room in a value.

use std::rc::Rc;

use jaq_core::Error;
use jaq_core::native::{Fun, bome, run, v};
use jaq_json::{Val, read};

use crate::program::{Data, write};

/// `_json`, `_fromjson`, `_join($between)` and `_init($key)`.
pub fn functions() -> impl Iterator<Item = Fun<Data>> {
    [
        run::<Data>(("_json", v(0), |cv| bome(json(&cv.1)))),
        run::<Data>(("_fromjson", v(0), |cv| bome(parsed(&cv.1)))),
        run::<Data>(("_join", v(1), |mut cv| {
            let between = cv.0.pop_var();
            bome(joined(&cv.1, &between))
        })),
        run::<Data>(("_init", v(1), |mut cv| {
            let key = cv.0.pop_var();
            bome(Ok(with_room(cv.1, &key)))
        })),
    ]
    .into_iter()
}

/// The JSON of a value as a text, in which 3.0 is 3.
fn json(value: &Val) -> Result<Val, Error<Val>> {
    let mut text = Vec::new();
    write(value, false, &mut text).map_err(|why| Error::str(why.reason))?;
    Ok(Val::utf8_str(text))
}

/// The value of a text in JSON, which is all of it.
fn parsed(text: &Val) -> Result<Val, Error<Val>> {
    let Val::TStr(bytes) = text else {
        return Err(Error::str(format_args!("{text} is no text, and so no JSON")));
    };
    read::parse_single(bytes).map_err(|why| Error::str(format_args!("{text} is no JSON: {why}")))
}

/// The texts and numbers of an array as one text.
fn joined(values: &Val, between: &Val) -> Result<Val, Error<Val>> {
    let (Val::Arr(values), Val::TStr(between)) = (values, between) else {
        return Err(Error::str("join needs an array, and a text that stands between its values"));
    };
    let mut text = Vec::new();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            text.extend_from_slice(between);
        }
        match value {
            Val::Null => {}
            Val::TStr(value) => text.extend_from_slice(value),
            Val::Arr(_) | Val::Obj(_) => {
                return Err(Error::str(format_args!("{value} cannot be joined with texts")));
            }
            value => write(value, false, &mut text).map_err(|why| Error::str(why.reason))?,
        }
    }
    Ok(Val::utf8_str(text))
}

/// A value in which there is a place for a key: null becomes an array or an object, and an array
/// gets so many elements.
fn with_room(value: Val, key: &Val) -> Val {
    match (value, key) {
        (Val::Null, Val::Num(_)) => with_room(Val::Arr(Rc::default()), key),
        (Val::Null, _) => Val::obj(Default::default()),
        (Val::Arr(mut values), Val::Num(number)) => {
            let index = number.as_isize().and_then(|index| usize::try_from(index).ok());
            if let Some(index) = index.filter(|index| *index >= values.len()) {
                Rc::make_mut(&mut values).resize(index + 1, Val::Null);
            }
            Val::Arr(values)
        }
        (value, _) => value,
    }
}
