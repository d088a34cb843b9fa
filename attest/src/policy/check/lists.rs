//! Bounds of lists.

use std::{collections::BTreeSet, fmt};

use crate::policy::{Policy, criterion::Criterion, error::PolicyError};

pub(super) fn check_zeros<T>(
    field: &'static str,
    criterion: &Criterion<Vec<T>>,
    is_zero: impl Fn(&T) -> bool,
) -> Result<(), PolicyError> {
    match criterion.stated() {
        Some(list) if list.iter().any(is_zero) => Err(PolicyError::ListsZeros { field }),
        _ => Ok(()),
    }
}

pub(super) fn check_stated<T: Ord + fmt::Display>(
    field: &'static str,
    criterion: &Criterion<Vec<T>>,
) -> Result<(), PolicyError> {
    criterion
        .stated()
        .map_or(Ok(()), |list| check_list(field, list))
}

pub(super) fn check_list<T: Ord + fmt::Display>(
    field: &'static str,
    list: &[T],
) -> Result<(), PolicyError> {
    if list.is_empty() {
        return Err(PolicyError::EmptyList { field });
    }
    if list.len() > Policy::MAX_ENTRIES {
        return Err(PolicyError::TooManyEntries {
            field,
            max: Policy::MAX_ENTRIES,
            got: list.len(),
        });
    }
    let mut seen = BTreeSet::new();
    match list.iter().find(|entry| !seen.insert(*entry)) {
        None => Ok(()),
        Some(entry) => Err(PolicyError::ListedTwice {
            field,
            entry: entry.to_string(),
        }),
    }
}
