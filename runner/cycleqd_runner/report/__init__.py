"""What people look at: tables, pictures and pages, made from :class:`cycleqd.report.Report`. No torch here."""
