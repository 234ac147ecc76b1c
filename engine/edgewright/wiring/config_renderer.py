"""Wires edgewright_templates' device configurations to the ConfigRenderer port."""

from edgewright.errors import StepFailed
from edgewright.ports import ConfigRequest


class TemplateRenderer:
    """Renders device configurations with jinja2; implements ports.ConfigRenderer."""

    def render(self, request: ConfigRequest) -> bytes:
        """Render strictly.

        Raises:
            StepFailed: The template is wrong or uses something undefined; names file and line.
        """
        from edgewright_templates.devices import TemplateProblem, render_config

        try:
            return render_config(
                request.template,
                device_id=request.device,
                labels=request.labels,
                model=request.model,
                fleet=request.fleet,
                values=request.values,
                template_name=request.template_name,
            )
        except TemplateProblem as problem:
            raise StepFailed(
                f"{problem.path}:{problem.line}: {problem.message} (device {request.device})",
                hint="templates see device (id, labels), model, fleet and values, and nothing that is undefined",
            ) from problem
