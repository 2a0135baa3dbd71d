//! Removing paths, which keeps the order of the members that stay. jaq's own does not.

use std::rc::Rc;

use jaq_core::native::{Fun, bome, run, v};
use jaq_core::{DataT, Error};
use jaq_json::Val;

/// `_delpaths($paths)`
pub fn functions<D: for<'a> DataT<V<'a> = Val>>() -> impl Iterator<Item = Fun<D>> {
    [run::<D>(("_delpaths", v(1), |mut cv| {
        let paths = cv.0.pop_var();
        bome(delete_all(cv.1, paths))
    }))]
    .into_iter()
}

fn delete_all(mut value: Val, paths: Val) -> Result<Val, Error<Val>> {
    let Val::Arr(paths) = paths else { return Err(Error::str("the paths to delete are no array")) };
    let mut paths: Vec<Val> = (*paths).clone();
    // The last first: so what is deleted moves nothing that is still to be deleted.
    paths.sort();
    paths.dedup();
    for path in paths.iter().rev() {
        let Val::Arr(path) = path else { return Err(Error::str("a path to delete is no array")) };
        value = delete(value, path)?;
    }
    Ok(value)
}

fn delete(value: Val, path: &[Val]) -> Result<Val, Error<Val>> {
    let Some((step, rest)) = path.split_first() else { return Ok(Val::Null) };
    match (value, step) {
        (Val::Null, _) => Ok(Val::Null),
        (Val::Obj(mut members), Val::TStr(_)) => {
            if members.contains_key(step) {
                let of_value = Rc::make_mut(&mut members);
                if rest.is_empty() {
                    of_value.shift_remove(step);
                } else if let Some(inner) = of_value.get_mut(step) {
                    *inner = delete(std::mem::take(inner), rest)?;
                }
            }
            Ok(Val::Obj(members))
        }
        (Val::Arr(mut values), Val::Num(number)) => {
            let index = number.as_isize().and_then(|index| match usize::try_from(index) {
                Ok(index) => Some(index),
                Err(_) => values.len().checked_add_signed(index),
            });
            if let Some(index) = index.filter(|index| *index < values.len()) {
                let of_value = Rc::make_mut(&mut values);
                if rest.is_empty() {
                    of_value.remove(index);
                } else {
                    of_value[index] = delete(std::mem::take(&mut of_value[index]), rest)?;
                }
            }
            Ok(Val::Arr(values))
        }
        // A range of an array, as in del(.[1:3]).
        (value @ Val::Arr(_), Val::Obj(range)) if rest.is_empty() => {
            let Val::Arr(mut values) = value else { unreachable!("it is an array") };
            let bound = |name: &str, default: usize| {
                let index = match range.get(&Val::utf8_str(name.to_owned())) {
                    Some(Val::Num(number)) => number.as_isize(),
                    _ => None,
                };
                let bound = index.map_or(Some(default), |index| match usize::try_from(index) {
                    Ok(index) => Some(index),
                    Err(_) => values.len().checked_add_signed(index),
                });
                bound.unwrap_or(0).min(values.len())
            };
            let (start, end) = (bound("start", 0), bound("end", values.len()));
            if start < end {
                Rc::make_mut(&mut values).drain(start..end);
            }
            Ok(Val::Arr(values))
        }
        (value, step) => Err(Error::str(format_args!("cannot delete {step} of {value}"))),
    }
}
