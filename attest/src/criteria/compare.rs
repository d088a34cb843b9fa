//! How a claim is held against a criterion, and how both are put into words.

use std::fmt::Display;

use crate::{
    check::CheckList,
    check_name::CheckName,
    policy::{BitRule, Criterion},
};

pub(super) fn check_listed<T: PartialEq + Display>(
    name: CheckName,
    criterion: &Criterion<Vec<T>>,
    claim: Option<&T>,
    checks: &mut CheckList,
) {
    check_claim(
        name,
        criterion,
        claim,
        |list, got| list.contains(got),
        |list| one_of(list),
        checks,
    );
}

pub(super) fn check_one<T: PartialEq + Display>(
    name: CheckName,
    criterion: &Criterion<T>,
    claim: Option<&T>,
    checks: &mut CheckList,
) {
    check_claim(
        name,
        criterion,
        claim,
        |wanted, got| wanted == got,
        T::to_string,
        checks,
    );
}

pub(super) fn check_least<T: PartialOrd + Display>(
    name: CheckName,
    criterion: &Criterion<T>,
    claim: Option<&T>,
    checks: &mut CheckList,
) {
    check_claim(
        name,
        criterion,
        claim,
        |least, got| got >= least,
        |least| format!("{least} or later"),
        checks,
    );
}

pub(super) fn check_bit(
    name: CheckName,
    criterion: Criterion<BitRule>,
    set: bool,
    checks: &mut CheckList,
) {
    check_claim(
        name,
        &criterion,
        Some(&on_off(set)),
        |rule, _| set == (*rule == BitRule::Required),
        |rule| on_off(*rule == BitRule::Required).to_owned(),
        checks,
    );
}

/// A criterion that is stated fails where the TEE makes no such claim.
pub(super) fn check_claim<C, T: Display>(
    name: CheckName,
    criterion: &Criterion<C>,
    claim: Option<&T>,
    holds: impl Fn(&C, &T) -> bool,
    describe: impl Fn(&C) -> String,
    checks: &mut CheckList,
) {
    match criterion {
        Criterion::Any => checks.skip(name, or_not_stated(claim)),
        Criterion::Stated(wanted) => checks.record(
            name,
            claim.is_some_and(|got| holds(wanted, got)),
            describe(wanted),
            or_not_stated(claim),
        ),
    }
}

/// The entries of a list, as many as help: a list of a thousand chips would hide what came.
pub(crate) fn one_of<T: Display>(list: &[T]) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<String> = list.iter().take(SHOWN).map(T::to_string).collect();
    let shown = shown.join(" or ");
    match list.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} or one of {more} more"),
    }
}

pub(super) fn or_not_stated(claim: Option<impl Display>) -> String {
    claim.map_or_else(|| NOT_STATED.to_owned(), |claim| claim.to_string())
}

pub(super) const fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

pub(super) const NOT_STATED: &str = "nothing: the evidence does not state it";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_shown_in_part() {
        assert_eq!(one_of(&[1, 2]), "1 or 2");
        assert_eq!(one_of(&[1, 2, 3, 4]), "1 or 2 or 3 or 4");
        assert_eq!(
            one_of(&[1, 2, 3, 4, 5, 6]),
            "1 or 2 or 3 or 4 or one of 2 more"
        );
    }

    #[test]
    fn a_demand_that_the_evidence_does_not_answer_fails() {
        let mut checks = CheckList::default();
        check_one::<u8>(
            CheckName::HostData,
            &Criterion::Stated(1),
            None,
            &mut checks,
        );
        check_one::<u8>(CheckName::ProductId, &Criterion::Any, None, &mut checks);
        let (checks, failure) = checks.into_parts();
        assert!(failure.is_some());
        assert_eq!(checks[0].got, NOT_STATED);
        assert_eq!(checks[1].result, crate::CheckResult::NotChecked);
    }
}
