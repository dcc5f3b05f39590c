"""Everything that touches models and model-written code: basis, engines, tasks, sandbox, roles, command."""
