//! Applies a JSON Patch to a value that keeps its digits, which the library's own function can't.

use json_patch::jsonptr::Pointer;
use json_patch::{Patch, PatchOperation};

use super::value::Value;

/// Applies the operations that the injection uses: add, replace, remove and test.
///
/// # Errors
///
/// The path at which an operation does not fit. What the operations before it changed stays changed.
pub(crate) fn apply(value: &mut Value, patch: &Patch) -> Result<(), String> {
    for operation in &patch.0 {
        let fits = match operation {
            PatchOperation::Add(add) => add_at(value, &add.path, (&add.value).into()),
            PatchOperation::Replace(replace) => {
                at(value, &replace.path).map(|target| *target = (&replace.value).into())
            }
            PatchOperation::Remove(remove) => remove_at(value, &remove.path),
            PatchOperation::Test(test) => {
                at(value, &test.path).filter(|target| target.to_json() == test.value).map(|_| ())
            }
            PatchOperation::Move(_) | PatchOperation::Copy(_) => None,
        };
        fits.ok_or_else(|| operation.path().to_string())?;
    }
    Ok(())
}

fn at<'v>(value: &'v mut Value, path: &Pointer) -> Option<&'v mut Value> {
    path.tokens().try_fold(value, |value, token| match value {
        Value::Map(members) => members.get_mut(&*token.decoded()),
        Value::List(items) => items.get_mut(token.decoded().parse::<usize>().ok()?),
        _ => None,
    })
}

fn add_at(value: &mut Value, path: &Pointer, new: Value) -> Option<()> {
    let Some((parent, last)) = path.split_back() else {
        *value = new;
        return Some(());
    };
    match at(value, parent)? {
        Value::Map(members) => {
            members.insert(last.decoded().into_owned(), new);
        }
        Value::List(items) if last.encoded() == "-" => items.push(new),
        Value::List(items) => {
            let index = last.decoded().parse().ok().filter(|&index| index <= items.len())?;
            items.insert(index, new);
        }
        _ => return None,
    }
    Some(())
}

fn remove_at(value: &mut Value, path: &Pointer) -> Option<()> {
    let (parent, last) = path.split_back()?;
    match at(value, parent)? {
        Value::Map(members) => members.shift_remove(&*last.decoded()).map(|_| ()),
        Value::List(items) => {
            let index = last.decoded().parse().ok().filter(|&index| index < items.len())?;
            items.remove(index);
            Some(())
        }
        _ => None,
    }
}
