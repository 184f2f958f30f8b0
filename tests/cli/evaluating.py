"""What the tests of `peaframe eval` share: the header of a table, one line of error, what is in a folder."""

HEADER = "filename\tonset\toffset\tevent_label\n"


def one_line(ran, *parts):
    assert ran.code == 2, ran.err
    assert ran.out == ""
    (line,) = ran.err.splitlines()
    assert line.startswith("peaframe: error: ")
    assert [part for part in parts if part not in line] == []


def everything(folder):
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}
