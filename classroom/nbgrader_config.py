"""Settings of the nbgrader course; `tools/book.py assignments` copies this file into the course directory."""

from nbgrader import preprocessors

c = get_config()  # noqa: F821  (nbgrader provides it)

c.CourseDirectory.course_id = "llmguide"

# The source notebooks hold stubs already (one is broken code to be mended, which nbgrader's own clearing
# would replace) and no hidden tests: the graded cell calls the same engine as the student's check.
c.GenerateAssignment.preprocessors = [
    preprocessors.LockCells,
    preprocessors.ClearOutput,
    preprocessors.CheckCellMetadata,
    preprocessors.ComputeChecksums,
    preprocessors.SaveCells,
]

# A cell that never returns is interrupted and earns nothing; the cells after it still run.
c.Execute.timeout = 120
c.Execute.interrupt_on_timeout = True
c.Execute.store_widget_state = False
