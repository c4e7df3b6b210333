"""Names and values that nobody here chose, as hypothesis strategies."""

from __future__ import annotations

from hypothesis import strategies as st

from include.backup.names import quote_literal

MAX_NAME_BYTES = 63
Literals = st.SearchStrategy[str]

# PostgreSQL takes every character but NUL; a lone surrogate is no character.
_ANY = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
# fmt: off
_ODD_NAMES = (
    *("a", "Mixed", "select", "user", 'quo"ted', "it's", "two words", " ", "100%", "%s", "%(x)s", "back\\slash", "\\."),
    *("$1", "$(id)", "`id`", "semi;colon", "--", "/*", "*/", "a.b", ".", "[x]", "*", "?", "~", "{{ a }}", "{a}", "#"),
    *("-1", "1", "tab\t", "\r", "\x01", "\x1b[1m", "\x7f", "\u00a0", "\u200b", "é", "e\u0301", "ตาราง", "表", "👋"),
    *(":x", ":'x'", ':"x"', "&", "|", "<b>", "n" * 63, "ก" * 21, "é" * 31, "NULL", "null", "oid", "ctid_", "\\q", "'"),
)
_ODD_TEXTS = (
    *("", "NULL", "null", "\\N", "\\.", "\n\\.\n", "a\\", "\\\\", '"', '""', ",", "a,b", '"a"', "\n", "\r\n", "\r"),
    *(" ", "\t", "it's", "%", "\x01\x02\x08\x0b\x0c\x1f", "\x7f\x80\x85\u2028", "\ufeff", "สวัสดี", "👋🏽", "\U0010ffff"),
    "x" * 3000,
)
_ARRAY_TEXTS = (
    *("{}", '{""}', "{NULL}", '{"NULL"}', '{"a,b","c\\"d","\\\\"}', "{{a,b},{c,d}}", "[0:1]={a,b}"),
    '{"\n\\\\.\n"}',
)

# fmt: on
_SAMPLES: dict[str, tuple[str, ...]] = {
    "boolean": ("t", "f"),
    "smallint": ("-32768", "32767"),
    "bigint": ("-9223372036854775808", "9223372036854775807"),
    "numeric": ("NaN", "Infinity", "-Infinity", "0", "0.10", "1e30", "1e-300", "9" * 60 + ".5", "-0.000"),
    "numeric(10,3)": ("1.2345", "-9999999.999", "NaN"),
    "numeric(3,-2)": ("12345", "-100"),
    "real": ("NaN", "Infinity", "-Infinity", "-0", "1e-45", "0.1", "3.4028235e38"),
    "double precision": ("NaN", "Infinity", "-Infinity", "-0", "5e-324", "0.1", "1.7976931348623157e308", "1e-310"),
    "money": ("12.34", "-92233720368547758.08", "0"),
    '"char"': ("", "a", "\\377", "é"),
    "bytea": ("\\x", "\\x00", "\\x5c2e0a", "\\xdeadbeef"),
    "json": ('{"b" : 1, "a":[], "b":2}', "null", '"\\u0041"', ' "x" ', "1.0e5", "{\n}"),
    "jsonb": ('{"b" : 1, "a":[]}', "null", '"\\\\."', "1.0e5", '"\\n\\\\.\\n"'),
    "jsonpath": ("$.a[*]", 'strict $."x y"'),
    "uuid": ("00000000-0000-0000-0000-000000000000", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"),
    "inet": ("192.168.0.1/24", "::1", "::ffff:1.2.3.4"),
    "cidr": ("10.0.0.0/8", "2001:db8::/32"),
    "macaddr8": ("08:00:2b:01:02:03:04:05",),
    "date": ("infinity", "-infinity", "0044-03-15 BC", "5874897-12-31", "2024-02-29"),
    "timestamp": ("infinity", "-infinity", "4713-11-24 00:00 BC", "294276-12-31 23:59:59.999999", "2024-02-29 00:00"),
    "timestamptz": (
        "infinity",
        "-infinity",
        "0044-03-15 BC",
        "2024-10-27 01:30:00.000001+02",
        "1900-01-01 00:00+12:34",
    ),
    "timestamp(0)": ("2024-02-29 12:34:56.7",),
    "time": ("24:00", "00:00:00.000001"),
    "timetz": ("12:00+15:59", "00:00-08"),
    "interval": ("1 mon -2 days", "-00:00:01", "1 year 2 mons 3 days 04:05:06.789", "-178000000 years", "0"),
    "interval day to second(2)": ("1 day 00:00:01.239",),
    "integer[]": ("{}", "{1,NULL}", "{{1,2},{3,4}}", "[-1:0]={5,6}", "{{{1}}}"),
    "double precision[]": ("{NaN,-0,Infinity}",),
    "timestamptz[]": ("{infinity,2024-01-01}",),
    "int4range": ("empty", "[1,5)", "(,)", "[3,3]"),
    "numrange": ("(1.10,2.50]", "[,0)"),
    "tstzrange": ('["2024-01-01 00:00+00","infinity")', "empty"),
    "int8multirange": ("{}", "{[1,3),[5,9)}"),
    "bit(5)": ("10101",),
    "bit varying": ("", "1"),
    "tsvector": ("'it''s' 'a,b':1A,3C 'x y'", ""),
    "tsquery": ("'a' & !'b' | 'c':*",),
    "point": ("(1e-300,-0)", "(NaN,Infinity)"),
    "line": ("{1,2,3}",),
    "lseg": ("[(0,0),(1,1)]",),
    "box": ("(3,4),(1,2)",),
    "path": ("((0,0),(1,1))", "[(0,0),(1,1)]"),
    "polygon": ("((0,0),(1,1),(2,0))",),
    "circle": ("<(1,2),3>",),
    "pg_lsn": ("16/B374D848",),
    "pg_snapshot": ("10:20:10,14,15",),
    "oid": ("0", "4294967295"),
    "tid": ("(1,2)",),
    "xid8": ("18446744073709551615",),
    "regclass": ("pg_class", "-"),
    "regtype": ("integer", "text[]"),
    "refcursor": ("c",),
}
XML = {"xml": ("<a>&lt;\n</a>", "text", "<!-- x --><b c='d'/>")}

# What COPY, CSV and psql give a meaning to, in all mixtures.
_SPECIAL = st.text(st.sampled_from("\\.,\"'\n\r\t\b\f\v\x01\x1f\x7fN%: "), max_size=8)
texts: Literals = st.one_of(st.sampled_from(_ODD_TEXTS), _SPECIAL, st.text(_ANY, max_size=12))
_TEXT_TYPES: dict[str, Literals] = {
    "text": texts,
    "varchar(7)": texts.map(lambda text: text[:7]),
    "character(5)": texts.map(lambda text: text[:5]),
    "name": texts.map(lambda text: _cut(text, MAX_NAME_BYTES)),
    'text COLLATE "C"': texts,
    "text[]": st.sampled_from(_ARRAY_TEXTS),
}


def value_types(*, xml: bool) -> dict[str, Literals]:
    """Return for each type of a column what its values may be, as text that has to be quoted."""
    samples = _SAMPLES | (XML if xml else {})
    return _TEXT_TYPES | {name: st.sampled_from(values) for name, values in samples.items()}


def literals(values: Literals) -> Literals:
    """Return SQL for values of these texts, or NULL."""
    return st.one_of(st.just("NULL"), values.map(quote_literal), values.map(quote_literal))


def names(*, line_breaks: bool) -> Literals:
    """Return names of at most 63 bytes; psql cannot load a table that has a line break in its name."""
    drawn = st.one_of(st.sampled_from(_ODD_NAMES), st.text(_ANY, min_size=1, max_size=10).map(_cut))
    return drawn if line_breaks else drawn.map(lambda name: name.replace("\n", "/").replace("\r", "/"))


def _cut(text: str, size_bytes: int = MAX_NAME_BYTES) -> str:
    return text.encode()[:size_bytes].decode(errors="ignore")


def numbered(name: str, number: int) -> str:
    """Return the name with a number in it, so that it is another one than any other number's."""
    return f"{_cut(name, MAX_NAME_BYTES - 4)}~{number}"
