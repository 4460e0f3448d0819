//! Lists: whole ones, and a page at a time.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::Problem;

/// Most things on one page, and how many unless the caller says.
const PAGE_MAX: usize = 200;
const PAGE_DEFAULT: usize = 50;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// 1 to 200; 50 unless given.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<usize>,
    /// `next_cursor` of the previous answer.
    pub cursor: Option<String>,
    /// A consistency token that the answer must have seen.
    pub token_position: Option<String>,
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// The `cursor` of the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// A whole list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Items<T> {
    pub items: Vec<T>,
}

/// How many things a page is to have.
pub fn limit(wanted: Option<usize>) -> Result<usize, Problem> {
    let limit = wanted.unwrap_or(PAGE_DEFAULT);
    let fits = (1..=PAGE_MAX).contains(&limit);
    if fits { Ok(limit) } else { Err(Problem::new("invalid_parameter", format!("limit must be from 1 to {PAGE_MAX}"))) }
}

/// A cursor that no page has answered.
#[must_use]
pub fn invalid_cursor() -> Problem {
    Problem::new("invalid_cursor", "cursor must be the next_cursor of the page before")
}

/// A part of a list in its own order; the cursor is the id of the last thing shown.
pub fn page<T, B>(all: &[T], query: &PageQuery, id: impl Fn(&T) -> String, render: impl Fn(&T) -> B) -> Result<Page<B>, Problem> {
    let limit = limit(query.limit)?;
    let begin = match &query.cursor {
        None => 0,
        Some(cursor) => {
            let last = all.iter().position(|item| id(item) == *cursor);
            let gone = || Problem::new("invalid_cursor", "what the page before ended with is gone; begin again without cursor");
            last.ok_or_else(gone)? + 1
        }
    };
    let shown = &all[begin..all.len().min(begin + limit)];
    let next_cursor = shown.last().filter(|_| begin + limit < all.len()).map(id);
    Ok(Page { items: shown.iter().map(render).collect(), next_cursor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_on_where_the_last_one_ended() {
        let all = [1, 2, 3];
        let page = |limit, cursor: Option<&str>| {
            let query = PageQuery { limit: Some(limit), cursor: cursor.map(str::to_owned), token_position: None };
            super::page(&all, &query, ToString::to_string, |n| *n).map(|page| (page.items, page.next_cursor))
        };
        assert_eq!(page(2, None).unwrap(), (vec![1, 2], Some("2".to_owned())));
        assert_eq!(page(2, Some("2")).unwrap(), (vec![3], None));
        assert_eq!(page(3, None).unwrap(), (vec![1, 2, 3], None));
        assert_eq!(page(2, Some("9")).unwrap_err().code(), "invalid_cursor");
        assert_eq!(page(0, None).unwrap_err().code(), "invalid_parameter");
    }
}
